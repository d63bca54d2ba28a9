//! The settings of a client, and their one check.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use embed_core::{BreakerConfig, Error, ErrorKind, Pooling, Role};
use embed_remote::address::AddressForm;
use embed_remote::{CallSettings, HttpSettings, Secret, Upgrade, setters, shown_url};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};

use crate::identity::Identity;

/// Settings of an [`OpenAiEmbedder`](crate::OpenAiEmbedder); [`OpenAiConfig::new`] begins with a model and a server.
///
/// All of it is checked once, when the embedder connects; an error names the field.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct OpenAiConfig {
    /// The model's name at the server.
    pub model: String,
    /// Base URLs of the servers, as OpenAI's own clients take them: `/embeddings` is put behind a path, `/v1/embeddings`
    /// behind an address without one. Several must give the same vectors. A proxy that asks for user and password gets
    /// those of `http://USER:PASSWORD@HOST`, unless there is a key.
    pub servers: Vec<String>,
    /// Sent as `Authorization: Bearer …`.
    pub key: Option<Secret>,
    /// A file with the key, read again when it changes and when a server refuses it.
    pub key_file: Option<PathBuf>,
    /// Further headers, such as `OpenAI-Organization` or `api-key`.
    pub headers: Vec<(String, Secret)>,
    /// What the space is called: the model family and size without what says nothing of the vectors; `None`: the model's
    /// name in lower case.
    pub space: Option<String>,
    /// The width of the model's vectors, if it is to be known before any server was asked: then connecting succeeds while
    /// none answers.
    pub dimension: Option<usize>,
    /// How the model pools, for the name of the space.
    pub pooling: Pooling,
    /// Ask for vectors of so many numbers (for models trained for it). A server that ignores it has its vectors cut here.
    pub dimensions: Option<usize>,
    /// Divide every vector by its norm. Without it the space is one of raw vectors.
    pub normalise: bool,
    /// Tokens that the model reads at most, if it is known. With it texts are cut where the model ends, and texts that a
    /// server would cut in silence are found.
    pub max_tokens: Option<usize>,
    /// What is put in front of each text.
    pub prompts: Prompts,
    /// What is sent as `input_type` with queries and with documents, to servers that know it.
    pub input_types: Option<(String, String)>,
    /// Ask for vectors in base64, which is a third of the bytes; a server that refuses or ignores it is asked for numbers.
    pub base64: bool,
    /// Requests in flight at one server, and connections kept open to it.
    pub pool_size: usize,
    /// How long the answer to a request may take; a second try gets four times as long.
    pub request_timeout: Duration,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a whole call may take, if the request doesn't say. `None`: its requests bound it.
    pub deadline: Option<Duration>,
    /// How often a request is tried, the first time included. Being throttled is no try.
    pub tries: u32,
    /// The pause before the second try; each one after it is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long a request waits for servers of which none answers: from its first failure on, no try begins later.
    pub longest_outage: Duration,
    /// The longest pause that a server may ask for; more than that ends the call.
    pub longest_asked: Duration,
    /// How long a request without a deadline is tried at servers that throttle.
    pub longest_throttled: Duration,
    /// Bytes of text in one request.
    pub max_batch_bytes: usize,
    /// Texts in one request. A server that takes fewer says so, and gets fewer from then on.
    pub max_batch_rows: usize,
    /// A longer text is refused and not sent, unless it may be cut.
    pub max_text_bytes: usize,
    /// Send each text alone, so that every row has its token count: a server counts the tokens of a request.
    pub count_tokens: bool,
    /// Prove who a server is whenever a new connection to it was made. It costs a request of six short texts; behind a
    /// provider whose servers are many it may be turned off, and then the model's name in each answer is looked at alone.
    pub verify_reconnects: bool,
    /// The cosine from which on two vectors of a text are the same numbers. Large providers don't compute the same numbers
    /// each time.
    pub tolerance: f32,
    /// What to do about a server whose vectors have moved.
    pub upgrade: Upgrade,
    /// The identity of an earlier run ([`OpenAiEmbedder::identity`](crate::OpenAiEmbedder::identity)).
    pub expected: Option<Identity>,
    /// When a server counts as gone.
    pub breaker: BreakerConfig,
}

/// What is put in front of a text, by its role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prompts {
    /// In front of queries.
    pub query: String,
    /// In front of documents.
    pub document: String,
}

/// What the check makes of the settings.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) servers: Vec<Url>,
    pub(crate) http: HttpSettings,
}

impl Prompts {
    /// A prompt for each role.
    pub fn new(query: impl Into<String>, document: impl Into<String>) -> Self {
        Self { query: query.into(), document: document.into() }
    }

    /// That of a role; texts that nobody asked for have none.
    pub(crate) fn of(&self, role: Option<Role>) -> &str {
        match role {
            None => "",
            Some(Role::Query) => &self.query,
            Some(Role::Document) => &self.document,
        }
    }
}

impl OpenAiConfig {
    /// The default settings for a model and one server.
    pub fn new(model: impl Into<String>, server: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            servers: vec![server.into()],
            key: None,
            key_file: None,
            headers: Vec::new(),
            space: None,
            dimension: None,
            pooling: Pooling::Unknown,
            dimensions: None,
            normalise: true,
            max_tokens: None,
            prompts: Prompts::default(),
            input_types: None,
            base64: true,
            pool_size: 8,
            request_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
            deadline: None,
            tries: 3,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(10),
            longest_outage: Duration::from_secs(3),
            longest_asked: Duration::from_secs(120),
            longest_throttled: Duration::from_secs(600),
            max_batch_bytes: 128 << 10,
            max_batch_rows: 128,
            max_text_bytes: 1 << 20,
            count_tokens: false,
            verify_reconnects: true,
            tolerance: 0.999,
            upgrade: Upgrade::default(),
            expected: None,
            breaker: BreakerConfig::default().with_pauses(Duration::from_secs(1), Duration::from_secs(5)),
        }
    }

    /// Sets the servers.
    #[must_use]
    pub fn with_servers<S: Into<String>>(mut self, servers: impl IntoIterator<Item = S>) -> Self {
        self.servers = servers.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the first and the longest pause between tries.
    #[must_use]
    pub fn with_pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    /// Sets what is sent as `input_type`.
    #[must_use]
    pub fn with_input_types(mut self, query: impl Into<String>, document: impl Into<String>) -> Self {
        self.input_types = Some((query.into(), document.into()));
        self
    }

    setters! {
        with_model(model: impl Into<String>);
        with_key(key: impl Into<Option<Secret>>);
        with_key_file(key_file: impl Into<Option<PathBuf>>);
        with_headers(headers: Vec<(String, Secret)>);
        with_space(space: impl Into<Option<String>>);
        with_dimension(dimension: impl Into<Option<usize>>);
        with_pooling(pooling: Pooling);
        with_dimensions(dimensions: impl Into<Option<usize>>);
        with_normalise(normalise: bool);
        with_max_tokens(max_tokens: impl Into<Option<usize>>);
        with_prompts(prompts: Prompts);
        with_base64(base64: bool);
        with_pool_size(pool_size: usize);
        with_request_timeout(request_timeout: Duration);
        with_connect_timeout(connect_timeout: Duration);
        with_deadline(deadline: impl Into<Option<Duration>>);
        with_tries(tries: u32);
        with_longest_outage(longest_outage: Duration);
        with_longest_asked(longest_asked: Duration);
        with_longest_throttled(longest_throttled: Duration);
        with_max_batch_bytes(max_batch_bytes: usize);
        with_max_batch_rows(max_batch_rows: usize);
        with_max_text_bytes(max_text_bytes: usize);
        with_count_tokens(count_tokens: bool);
        with_verify_reconnects(verify_reconnects: bool);
        with_tolerance(tolerance: f32);
        with_upgrade(upgrade: Upgrade);
        with_expected(expected: impl Into<Option<Identity>>);
        with_breaker(breaker: BreakerConfig);
    }

    /// What the space is called.
    pub(crate) fn space_name(&self) -> String {
        self.space.clone().unwrap_or_else(|| self.model.trim().to_lowercase())
    }

    /// Whether vectors are divided by their norm; what is cut always is.
    pub(crate) fn is_normalised(&self) -> bool {
        self.normalise || self.dimensions.is_some()
    }

    /// What its calls need of it.
    pub(crate) fn call_settings(&self) -> CallSettings {
        CallSettings {
            pool_size: self.pool_size,
            deadline: self.deadline,
            tries: self.tries,
            first_pause: self.first_pause,
            longest_pause: self.longest_pause,
            longest_outage: self.longest_outage,
            longest_asked: self.longest_asked,
            longest_throttled: self.longest_throttled,
            max_batch_bytes: self.max_batch_bytes,
            max_batch_rows: self.max_batch_rows,
            max_text_bytes: self.max_text_bytes,
            count_tokens: self.count_tokens,
        }
    }

    /// Checks every field.
    pub(crate) fn check(&self) -> Result<Checked, Error> {
        if self.model.trim().is_empty() {
            return Err(wrong("model", "is empty; name a model such as text-embedding-3-small"));
        }
        if self.servers.is_empty() {
            return Err(wrong("servers", "is empty; name a server such as https://api.openai.com/v1"));
        }
        if self.key.is_some() && self.key_file.is_some() {
            return Err(wrong("key_file", "must not be set beside key; leave one of them out"));
        }
        for (field, value) in [
            ("pool_size", self.pool_size),
            ("tries", self.tries as usize),
            ("max_batch_bytes", self.max_batch_bytes),
            ("max_batch_rows", self.max_batch_rows),
            ("max_text_bytes", self.max_text_bytes),
            ("dimension", self.dimension.unwrap_or(1)),
            ("dimensions", self.dimensions.unwrap_or(1)),
            ("max_tokens", self.max_tokens.unwrap_or(1)),
            ("breaker.failures", self.breaker.failures as usize),
        ] {
            if value == 0 {
                return Err(wrong(field, "must be more than 0"));
            }
        }
        if self.pool_size > 10_000 {
            return Err(wrong("pool_size", "must be at most 10000"));
        }
        if let (Some(dimension), Some(dimensions)) = (self.dimension, self.dimensions)
            && dimensions > dimension
        {
            return Err(wrong("dimensions", "must not be more than dimension"));
        }
        for (field, value) in [
            ("request_timeout", self.request_timeout),
            ("connect_timeout", self.connect_timeout),
            ("deadline", self.deadline.unwrap_or(Duration::MAX)),
        ] {
            if value.is_zero() {
                return Err(wrong(field, "must be more than 0"));
            }
        }
        if self.longest_pause < self.first_pause {
            return Err(wrong("longest_pause", "must not be shorter than first_pause"));
        }
        if !(0.97..=1.0).contains(&self.tolerance) {
            return Err(wrong("tolerance", "must be a cosine from 0.97 to 1"));
        }
        if self.key.as_ref().is_some_and(|key| key.header("Bearer ").is_none()) {
            return Err(wrong("key", "holds characters that no header can hold"));
        }
        Ok(Checked { servers: self.urls()?, http: self.http_settings()? })
    }

    fn urls(&self) -> Result<Vec<Url>, Error> {
        let form = AddressForm {
            field: "servers",
            port: 80,
            example: "https://api.openai.com/v1",
            suffix: "/embeddings",
            lenient_port: false,
        };
        let mut servers = Vec::with_capacity(self.servers.len());
        for server in &self.servers {
            let mut url = form.read(server).map_err(|error| error.with_context("field", "servers"))?;
            if url.path() == "/" {
                url.set_path("/v1");
            }
            if servers.contains(&url) {
                return Err(wrong("servers", "names a server twice"));
            }
            servers.push(url);
        }
        Ok(servers)
    }

    fn http_settings(&self) -> Result<HttpSettings, Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| wrong("headers", "has a name that no header can have"))?;
            let value =
                value.header("").ok_or_else(|| wrong("headers", "has a value that no header can hold"))?;
            headers.append(name, value);
        }
        let has_key = self.key.is_some() || self.key_file.is_some();
        Ok(HttpSettings {
            user_agent: concat!("embed-openai/", env!("CARGO_PKG_VERSION")),
            // A key says more than user and password in the address.
            basic_auth: !has_key && !headers.contains_key(AUTHORIZATION),
            headers,
            connect_timeout: self.connect_timeout,
            pool_size: self.pool_size,
        })
    }
}

fn wrong(field: &'static str, what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{field} {what}")).with_context("field", field)
}

/// Without keys and passwords.
impl fmt::Debug for OpenAiConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.servers.iter().map(|server| shown_url(server)).collect();
        f.debug_struct("OpenAiConfig")
            .field("model", &self.model)
            .field("servers", &servers)
            .field("pool_size", &self.pool_size)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_field() {
        let with = |change: fn(&mut OpenAiConfig)| {
            let mut config = OpenAiConfig::new("m", "http://h");
            change(&mut config);
            let error = config.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let field = error.context().find(|(name, _)| *name == "field");
            field.map(|(_, field)| field.to_owned()).unwrap()
        };
        assert_eq!(with(|c| c.model = " ".into()), "model");
        assert_eq!(with(|c| c.servers.clear()), "servers");
        assert_eq!(with(|c| c.servers = vec!["h/v1".into(), "http://h/v1/embeddings".into()]), "servers");
        assert_eq!(with(|c| c.servers = vec!["ftp://h".into()]), "servers");
        assert_eq!(with(|c| c.pool_size = 0), "pool_size");
        assert_eq!(with(|c| c.tries = 0), "tries");
        assert_eq!(with(|c| c.tolerance = 0.5), "tolerance");
        assert_eq!(with(|c| c.longest_pause = Duration::ZERO), "longest_pause");
        assert_eq!(with(|c| (c.dimension, c.dimensions) = (Some(3), Some(4))), "dimensions");
        assert_eq!(with(|c| c.key = Some(Secret::new("a\nb"))), "key");
        assert_eq!(with(|c| (c.key, c.key_file) = (Some(Secret::new("k")), Some("f".into()))), "key_file");
        assert_eq!(with(|c| c.headers = vec![("a b".into(), Secret::new("x"))]), "headers");
        assert!(OpenAiConfig::new("m", "http://h").check().is_ok());
    }

    #[test]
    fn an_address_is_a_base_url_as_openais_clients_take_it() {
        for (value, expected) in [
            ("https://api.openai.com/v1", "https://api.openai.com/v1"),
            ("https://api.openai.com", "https://api.openai.com/v1"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
            ("http://h/v1/embeddings", "http://h/v1"),
            ("https://h/v1beta/openai/", "https://h/v1beta/openai"),
        ] {
            let checked = OpenAiConfig::new("m", value).check().unwrap();
            assert_eq!(checked.servers[0].as_str(), expected, "{value}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut config = OpenAiConfig::new("m", "http://me:hush@h").with_key(Secret::new("hush"));
        config.headers = vec![("api-key".into(), Secret::new("hush"))];
        let checked = config.check().unwrap().http;
        assert!(!format!("{config:?}{checked:?}").contains("hush"));
    }
}
