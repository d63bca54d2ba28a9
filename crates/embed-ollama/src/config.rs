//! The settings of a client, and their one check.

use std::fmt;
use std::time::Duration;

use embed_core::{BreakerConfig, Error, ErrorKind};
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use embed_remote::{CallSettings, HttpSettings, Secret, Upgrade, setters, shown_url};

use crate::address::base_url;
use crate::identity::Identity;

/// Settings of an [`OllamaEmbedder`](crate::OllamaEmbedder). [`OllamaConfig::default`] is all-minilm on the
/// server of this machine.
///
/// All of it is checked once, when the embedder connects; an error names the field.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct OllamaConfig {
    /// The model's name at the server, with or without a tag.
    pub model: String,
    /// Base URLs of the servers, each with or without `/api`; a host alone has port 11434. Several must
    /// give the same vectors. A proxy that asks for user and password gets those of `http://USER:PASSWORD@HOST`,
    /// unless [`token`](Self::token) is set.
    pub servers: Vec<String>,
    /// Requests in flight at one server, and connections kept open to it. A full batch counts for half of
    /// it, since a server works through the texts of one model one by one, whatever arrives at once.
    pub pool_size: usize,
    /// How long the answer to a request may take while the model is loaded. A server that has to load the
    /// model, and says so by being alive, is waited for up to [`load_timeout`](Self::load_timeout): a
    /// client that hangs up aborts the load, and the next try would begin it anew.
    pub request_timeout: Duration,
    /// How long the model may take to load, queueing included.
    pub load_timeout: Duration,
    /// How long a connection, the version and other small answers may take.
    pub connect_timeout: Duration,
    /// How long a whole call may take, if the request doesn't say. `None`: its requests bound it.
    pub deadline: Option<Duration>,
    /// How often a request is tried, the first time included.
    pub tries: u32,
    /// The pause before the second try; each one after it is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long a request waits for servers of which none answers, or answers for itself (502, 504): from its first failure
    /// on, no try begins later than this. So it fails after this time and what its first and its last try take. Pauses that
    /// a server asks for (429, 503), or that it needs to load a model, are none of it.
    pub longest_outage: Duration,
    /// The longest pause that a server may ask for by `Retry-After`; more than that ends the call.
    pub longest_asked: Duration,
    /// How long the server keeps the model loaded; `None` leaves that to the server.
    pub keep_alive: Option<KeepAlive>,
    /// Settings of the model; the same ones go with every request, since a change makes the server load
    /// the model again.
    pub options: ModelOptions,
    /// Cut the vectors to so many numbers and normalise them again (for models trained for it). It is done
    /// here, so that it works with every version.
    pub dimensions: Option<usize>,
    /// Bytes of text in one request: the time of a request grows with its text, not with its rows.
    pub max_batch_bytes: usize,
    /// Texts in one request.
    pub max_batch_rows: usize,
    /// A longer text is refused and not sent, unless it is to be embedded in chunks.
    pub max_text_bytes: usize,
    /// Send each text alone, so that every row has its token count: a server counts the tokens of a
    /// request, not of a row.
    pub count_tokens: bool,
    /// What to do about a server whose vectors have moved.
    pub upgrade: Upgrade,
    /// The identity of an earlier run ([`OllamaEmbedder::identity`](crate::OllamaEmbedder::identity)).
    /// Servers that give its vectors get its variant, whatever they call the model and whatever their
    /// version; others are refused, or get a variant of their own, by [`upgrade`](Self::upgrade).
    pub expected: Option<Identity>,
    /// Embed with a model that says that it is not for embedding. Old servers give vectors of any model.
    pub allow_chat_models: bool,
    /// Sent as `Authorization: Bearer …`, for a proxy before the server; Ollama itself asks for none.
    pub token: Option<Secret>,
    /// Further headers for a proxy.
    pub headers: Vec<(String, Secret)>,
    /// When a server counts as gone.
    pub breaker: BreakerConfig,
}

/// Pool sizes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Preset {
    /// 5.
    Development,
    /// 10, the default.
    Staging,
    /// 20.
    Production,
    /// 50.
    HighTraffic,
}

/// How long a server keeps the model loaded after a request. It is sent as a number: a string without a
/// unit is an error to Ollama.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepAlive {
    /// So many seconds; 0 unloads it at once.
    Seconds(u32),
    /// Until the server ends.
    Forever,
}

/// Settings of the model that decide how it is loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ModelOptions {
    /// The context in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_ctx: Option<u32>,
    /// Tokens that are worked on at once. Left alone, the client raises it where a version would embed
    /// long texts wrongly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_batch: Option<u32>,
    /// Layers on the GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_gpu: Option<u32>,
    /// Processor threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_thread: Option<u32>,
}

impl Preset {
    /// The pool size.
    #[must_use]
    pub fn pool_size(self) -> usize {
        match self {
            Self::Development => 5,
            Self::Staging => 10,
            Self::Production => 20,
            Self::HighTraffic => 50,
        }
    }

    /// The preset of a name: `development`, `staging`, `production`, `high_traffic`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for any other name.
    pub fn by_name(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "development" => Self::Development,
            "staging" => Self::Staging,
            "production" => Self::Production,
            "high_traffic" | "high-traffic" => Self::HighTraffic,
            _ => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "a pool is a number or one of development, staging, production, high_traffic",
                )
                .with_context("field", "pool_size"));
            }
        })
    }
}

impl Default for OllamaConfig {
    fn default() -> Self {
        Self {
            model: "all-minilm".to_owned(),
            servers: vec!["http://127.0.0.1:11434".to_owned()],
            pool_size: Preset::Staging.pool_size(),
            request_timeout: Duration::from_secs(30),
            load_timeout: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(5),
            deadline: None,
            tries: 3,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(10),
            longest_outage: Duration::from_secs(3),
            longest_asked: Duration::from_secs(60),
            keep_alive: Some(KeepAlive::Seconds(1800)),
            options: ModelOptions::default(),
            dimensions: None,
            max_batch_bytes: 64 << 10,
            max_batch_rows: 64,
            max_text_bytes: 1 << 20,
            count_tokens: false,
            upgrade: Upgrade::default(),
            expected: None,
            allow_chat_models: false,
            token: None,
            headers: Vec::new(),
            // A server that is back is found within five seconds.
            breaker: BreakerConfig::default().with_pauses(Duration::from_secs(1), Duration::from_secs(5)),
        }
    }
}

impl OllamaConfig {
    /// The default settings for a model and one server.
    pub fn new(model: impl Into<String>, server: impl Into<String>) -> Self {
        Self { model: model.into(), servers: vec![server.into()], ..Self::default() }
    }

    /// Sets the servers.
    #[must_use]
    pub fn with_servers<S: Into<String>>(mut self, servers: impl IntoIterator<Item = S>) -> Self {
        self.servers = servers.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the pool size by name.
    #[must_use]
    pub fn with_preset(mut self, preset: Preset) -> Self {
        self.pool_size = preset.pool_size();
        self
    }

    /// Sets the first and the longest pause between tries.
    #[must_use]
    pub fn with_pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    setters! {
        with_model(model: impl Into<String>);
        with_pool_size(pool_size: usize);
        with_request_timeout(request_timeout: Duration);
        with_load_timeout(load_timeout: Duration);
        with_connect_timeout(connect_timeout: Duration);
        with_deadline(deadline: impl Into<Option<Duration>>);
        with_tries(tries: u32);
        with_longest_outage(longest_outage: Duration);
        with_longest_asked(longest_asked: Duration);
        with_keep_alive(keep_alive: impl Into<Option<KeepAlive>>);
        with_options(options: ModelOptions);
        with_dimensions(dimensions: impl Into<Option<usize>>);
        with_max_batch_bytes(max_batch_bytes: usize);
        with_max_batch_rows(max_batch_rows: usize);
        with_max_text_bytes(max_text_bytes: usize);
        with_count_tokens(count_tokens: bool);
        with_upgrade(upgrade: Upgrade);
        with_expected(expected: impl Into<Option<Identity>>);
        with_allow_chat_models(allow_chat_models: bool);
        with_token(token: impl Into<Option<Secret>>);
        with_headers(headers: Vec<(String, Secret)>);
        with_breaker(breaker: BreakerConfig);
    }

    /// Checks every field.
    pub(crate) fn check(&self) -> Result<Checked, Error> {
        let wrong = |field: &'static str, what: &str| {
            Error::new(ErrorKind::Config, format!("{field} {what}")).with_context("field", field)
        };
        if self.model.trim().is_empty() {
            return Err(wrong("model", "is empty; name a model such as all-minilm"));
        }
        if self.servers.is_empty() {
            return Err(wrong("servers", "is empty; name a server such as http://127.0.0.1:11434"));
        }
        for (field, value) in [
            ("pool_size", self.pool_size),
            ("tries", self.tries as usize),
            ("max_batch_bytes", self.max_batch_bytes),
            ("max_batch_rows", self.max_batch_rows),
            ("max_text_bytes", self.max_text_bytes),
            ("dimensions", self.dimensions.unwrap_or(1)),
            ("breaker.failures", self.breaker.failures as usize),
        ] {
            if value == 0 {
                return Err(wrong(field, "must be more than 0"));
            }
        }
        if self.pool_size > 10_000 {
            return Err(wrong("pool_size", "must be at most 10000"));
        }
        for (field, value) in [
            ("request_timeout", self.request_timeout),
            ("load_timeout", self.load_timeout),
            ("connect_timeout", self.connect_timeout),
            ("deadline", self.deadline.unwrap_or(Duration::MAX)),
        ] {
            if value.is_zero() {
                return Err(wrong(field, "must be more than 0"));
            }
        }
        if self.load_timeout < self.request_timeout {
            return Err(wrong("load_timeout", "must not be shorter than request_timeout"));
        }
        if self.longest_pause < self.first_pause {
            return Err(wrong("longest_pause", "must not be shorter than first_pause"));
        }
        let mut servers = Vec::with_capacity(self.servers.len());
        for server in &self.servers {
            let url = base_url(server, "servers").map_err(|error| error.with_context("field", "servers"))?;
            if servers.contains(&url) {
                return Err(wrong("servers", "names a server twice"));
            }
            servers.push(url);
        }
        Ok(Checked { servers, headers: self.header_map()? })
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
            longest_throttled: Duration::ZERO,
            max_batch_bytes: self.max_batch_bytes,
            max_batch_rows: self.max_batch_rows,
            max_text_bytes: self.max_text_bytes,
            count_tokens: self.count_tokens,
        }
    }

    /// What the HTTP client of a server needs of it.
    pub(crate) fn http_settings(&self, checked: &Checked) -> HttpSettings {
        HttpSettings {
            user_agent: concat!("embed-ollama/", env!("CARGO_PKG_VERSION")),
            headers: checked.headers.clone(),
            // A token that was set says more than user and password in the address.
            basic_auth: !checked.headers.contains_key(AUTHORIZATION),
            connect_timeout: self.connect_timeout,
            pool_size: self.pool_size,
        }
    }

    fn header_map(&self) -> Result<HeaderMap<HeaderValue>, Error> {
        let wrong = |field: &'static str, what: &str| {
            Error::new(ErrorKind::Config, format!("{field} {what}")).with_context("field", field)
        };
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| wrong("headers", "has a name that no header can have"))?;
            // A browser's header: Ollama refuses the request if it doesn't know the origin.
            if name == reqwest::header::ORIGIN {
                return Err(wrong("headers", "must not set Origin, which Ollama answers with 403"));
            }
            let value =
                value.header("").ok_or_else(|| wrong("headers", "has a value that no header can hold"))?;
            map.append(name, value);
        }
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            let value = token
                .header("Bearer ")
                .ok_or_else(|| wrong("token", "holds characters that no header can hold"))?;
            map.insert(AUTHORIZATION, value);
        }
        Ok(map)
    }
}

/// Without passwords: addresses may hold one.
impl fmt::Debug for OllamaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servers: Vec<_> = self.servers.iter().map(|server| shown_url(server)).collect();
        f.debug_struct("OllamaConfig")
            .field("model", &self.model)
            .field("servers", &servers)
            .field("pool_size", &self.pool_size)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl ModelOptions {
    setters! {
        with_num_ctx(num_ctx: impl Into<Option<u32>>);
        with_num_batch(num_batch: impl Into<Option<u32>>);
        with_num_gpu(num_gpu: impl Into<Option<u32>>);
        with_num_thread(num_thread: impl Into<Option<u32>>);
    }
}

impl KeepAlive {
    /// The number that is sent.
    pub(crate) fn seconds(self) -> i64 {
        match self {
            Self::Seconds(seconds) => i64::from(seconds),
            Self::Forever => -1,
        }
    }

    /// How long the model surely stays after a request.
    pub(crate) fn lasts(this: Option<Self>) -> Duration {
        match this {
            // What a server does by default.
            None => Duration::from_secs(270),
            Some(Self::Seconds(seconds)) => Duration::from_secs(u64::from(seconds)).mul_f64(0.9),
            Some(Self::Forever) => Duration::from_secs(u64::from(u32::MAX)),
        }
    }
}

/// What the check makes of the settings.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) servers: Vec<Url>,
    pub(crate) headers: HeaderMap<HeaderValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_field() {
        let with = |change: fn(&mut OllamaConfig)| {
            let mut config = OllamaConfig::default();
            change(&mut config);
            let error = config.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            let field = error.context().find(|(name, _)| *name == "field");
            field.map(|(_, field)| field.to_owned()).unwrap()
        };
        assert_eq!(with(|c| c.model = " ".into()), "model");
        assert_eq!(with(|c| c.servers.clear()), "servers");
        assert_eq!(with(|c| c.servers = vec!["h".into(), "http://h:11434/api".into()]), "servers");
        assert_eq!(with(|c| c.pool_size = 0), "pool_size");
        assert_eq!(with(|c| c.tries = 0), "tries");
        assert_eq!(with(|c| c.request_timeout = Duration::ZERO), "request_timeout");
        assert_eq!(with(|c| c.load_timeout = Duration::from_secs(1)), "load_timeout");
        assert_eq!(with(|c| c.longest_pause = Duration::ZERO), "longest_pause");
        assert_eq!(with(|c| c.dimensions = Some(0)), "dimensions");
        assert_eq!(with(|c| c.token = Some(Secret::new("a\nb"))), "token");
        assert_eq!(with(|c| c.headers = vec![("a b".into(), Secret::new("x"))]), "headers");
        assert_eq!(with(|c| c.headers = vec![("Origin".into(), Secret::new("x"))]), "headers");
        assert!(OllamaConfig::default().check().is_ok());
    }

    /// A new field has its setter, or this doesn't compile.
    #[test]
    fn every_field_can_be_set_in_one_expression() {
        let seconds = Duration::from_secs;
        let options = ModelOptions::default()
            .with_num_ctx(512)
            .with_num_batch(512)
            .with_num_gpu(None)
            .with_num_thread(2);
        let OllamaConfig {
            model,
            servers,
            pool_size,
            request_timeout,
            load_timeout,
            connect_timeout,
            deadline,
            tries,
            first_pause,
            longest_pause,
            longest_outage,
            longest_asked,
            keep_alive,
            options,
            dimensions,
            max_batch_bytes,
            max_batch_rows,
            max_text_bytes,
            count_tokens,
            upgrade,
            expected,
            allow_chat_models,
            token,
            headers,
            breaker,
        } = OllamaConfig::default()
            .with_model("m")
            .with_servers(["a", "b"])
            .with_pool_size(1)
            .with_request_timeout(seconds(2))
            .with_load_timeout(seconds(3))
            .with_connect_timeout(seconds(4))
            .with_deadline(seconds(5))
            .with_tries(6)
            .with_pauses(seconds(7), seconds(8))
            .with_longest_outage(seconds(9))
            .with_longest_asked(seconds(10))
            .with_keep_alive(KeepAlive::Forever)
            .with_options(options)
            .with_dimensions(11)
            .with_max_batch_bytes(12)
            .with_max_batch_rows(13)
            .with_max_text_bytes(14)
            .with_count_tokens(true)
            .with_upgrade(Upgrade::NewVariant)
            .with_expected(None)
            .with_allow_chat_models(true)
            .with_token(Secret::new("t"))
            .with_headers(vec![("X-A".to_owned(), Secret::new("h"))])
            .with_breaker(BreakerConfig::default().with_failures(15));
        assert_eq!((model.as_str(), servers, pool_size), ("m", vec!["a".to_owned(), "b".to_owned()], 1));
        let times = [request_timeout, load_timeout, connect_timeout, deadline.unwrap()];
        assert_eq!(times, [2, 3, 4, 5].map(seconds));
        assert_eq!([first_pause, longest_pause, longest_outage, longest_asked], [7, 8, 9, 10].map(seconds));
        assert_eq!((tries, keep_alive, dimensions), (6, Some(KeepAlive::Forever), Some(11)));
        assert_eq!([max_batch_bytes, max_batch_rows, max_text_bytes], [12, 13, 14]);
        assert!(count_tokens && allow_chat_models && expected.is_none() && token.is_some());
        assert_eq!((upgrade, headers.len(), breaker.failures), (Upgrade::NewVariant, 1, 15));
        let ModelOptions { num_ctx, num_batch, num_gpu, num_thread } = options;
        assert_eq!([num_ctx, num_batch, num_gpu, num_thread], [Some(512), Some(512), None, Some(2)]);
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = OllamaConfig {
            token: Some(Secret::new("hush-token")),
            headers: vec![("X-Key".into(), Secret::new("hush-header"))],
            ..OllamaConfig::default()
        };
        let checked = config.check().unwrap();
        assert!(!format!("{config:?}{checked:?}").contains("hush"));
    }

    #[test]
    fn presets_have_the_sizes_of_old() {
        for (name, size) in [("development", 5), ("staging", 10), ("production", 20), ("high_traffic", 50)] {
            assert_eq!(Preset::by_name(name).unwrap().pool_size(), size);
        }
        assert_eq!(OllamaConfig::default().pool_size, 10);
        assert_eq!(Preset::by_name("huge").unwrap_err().kind(), ErrorKind::Config);
    }

    #[test]
    fn keep_alive_is_a_number() {
        assert_eq!(KeepAlive::Seconds(60).seconds(), 60);
        assert_eq!(KeepAlive::Forever.seconds(), -1);
    }
}
