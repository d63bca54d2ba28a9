//! One server's HTTP: the client, and what its failures mean.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use embed_core::{Error, ErrorKind, TraceContext};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::util::MapResponseLayer;

use crate::address::{is_loopback, without_credentials};
use crate::seen::{Body, Seen, Trouble};
use crate::tls::{is_tls, secured};

/// The HTTP client of one server.
pub struct Http {
    client: reqwest::Client,
    base: String,
    /// The base with user and password, of which the client makes a header.
    target: String,
    name: String,
    /// Connections that were made so far.
    connects: Arc<AtomicUsize>,
}

/// What a client is made of.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// `User-Agent`.
    pub user_agent: &'static str,
    /// Sent with every request.
    pub headers: HeaderMap,
    /// Send user and password of the address as basic auth; without it they are left out.
    pub basic_auth: bool,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// Connections that are kept open.
    pub pool_size: usize,
}

/// Without the password.
impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Http {
    /// A client for this address.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if it can't be built: no TLS for an https address, a proxy variable that is none.
    pub fn new(url: &Url, settings: &HttpSettings) -> Result<Self, Error> {
        let bare = without_credentials(url);
        let target = if settings.basic_auth { url } else { &bare };
        let mut builder = secured(reqwest::Client::builder(), url)?
            .user_agent(settings.user_agent)
            .default_headers(settings.headers.clone())
            .connect_timeout(settings.connect_timeout)
            .pool_max_idle_per_host(settings.pool_size)
            // A server may keep idle connections for ever; what stands between may cut them after a minute.
            .pool_idle_timeout(Duration::from_secs(50))
            .tcp_keepalive(Duration::from_secs(30))
            .redirect(Policy::none())
            .http1_only();
        // The pool reconnects without a word, and another server may be at the other end then.
        let connects = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connects);
        builder = builder.connector_layer(MapResponseLayer::new(move |connection| {
            count.fetch_add(1, Ordering::SeqCst);
            connection
        }));
        if is_loopback(url) {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| {
            Error::new(ErrorKind::Config, "the HTTP client can't be built; check the proxy variables")
                .with_source(error.without_url())
        })?;
        let name = match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            _ => bare.as_str().to_owned(),
        };
        let base = |url: &Url| url.as_str().trim_end_matches('/').to_owned();
        Ok(Self { client, base: base(&bare), target: base(target), name, connects })
    }

    /// Host and port, for errors.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Connections that were made so far: as long as it stays the same, so does the server.
    #[must_use]
    pub fn connects(&self) -> usize {
        self.connects.load(Ordering::SeqCst)
    }

    /// The base URL without user and password.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Reads what is at a path.
    ///
    /// # Errors
    ///
    /// What was seen instead of an answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, limit: Limit) -> Result<T, Trouble> {
        let response = self.send(self.getting(path)).await?;
        read(response, limit).await
    }

    /// Posts a body and reads the answer.
    ///
    /// # Errors
    ///
    /// What was seen instead of an answer.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Limit,
    ) -> Result<T, Trouble> {
        let response = self.open(path, body).await?;
        read(response, limit).await
    }

    /// Sends, and leaves the body of the answer to the caller.
    ///
    /// # Errors
    ///
    /// What was seen instead of an answer.
    pub async fn open(&self, path: &str, body: &impl Serialize) -> Result<Response, Trouble> {
        self.send(self.posting(path, body)).await
    }

    /// A request that posts a body in the trace of a caller, to be [sent](Self::send).
    pub fn posting_for(&self, trace: &TraceContext, path: &str, body: &impl Serialize) -> RequestBuilder {
        trace.headers().fold(self.posting(path, body), |request, (name, value)| request.header(name, value))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.target)
    }

    /// A request for what is at a path, to be [sent](Self::send).
    pub fn getting(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    /// A request that posts a body, to be [sent](Self::send).
    pub fn posting(&self, path: &str, body: &impl Serialize) -> RequestBuilder {
        // Only maps with keys that aren't text and failing writers fail; the messages here have neither.
        let body = serde_json::to_vec(body).unwrap_or_default();
        self.client.post(self.url(path)).header(CONTENT_TYPE, "application/json").body(body)
    }

    /// Sends a request of this client.
    ///
    /// # Errors
    ///
    /// What was seen instead of an answer of success.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Trouble> {
        let response = request.send().await.map_err(transport)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let headers = Box::new(response.headers().clone());
        let after = headers.get(RETRY_AFTER).and_then(|value| pause(value.to_str().ok()?, SystemTime::now()));
        // The status says enough where the body is too long to be an error's.
        let body = match bounded(response, Limit::ERROR).await {
            Err(Trouble { seen: Seen::TooMuch, .. }) => Vec::new(),
            body => body?,
        };
        Err(Seen::Answer { status, headers, body: Body(body), after }.into())
    }
}

/// The pause that `Retry-After` asks for: seconds, or the date of its end.
fn pause(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let seconds = value.parse().map(Duration::from_secs).ok();
    seconds.or_else(|| Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()))
}

/// How many bytes an answer may have.
#[derive(Debug, Clone, Copy)]
pub struct Limit(usize);

impl Limit {
    /// A version, and other small answers.
    pub const SMALL: Self = Self(64 << 10);
    /// An error's message.
    const ERROR: Self = Self(64 << 10);
    /// A list of models, or one described with its licence.
    pub const LIST: Self = Self(16 << 20);
}

/// Bytes that a number takes at most, with what stands around it: `-1.1754944e-38,` and some spaces.
const NUMBER: usize = 32;

/// The width that is allowed while the model's isn't known.
const WIDEST: usize = 1 << 16;

/// What the rows of so many texts may take.
#[must_use]
pub fn rows_limit(texts: usize, dimension: Option<usize>) -> Limit {
    let row = dimension.unwrap_or(WIDEST) * NUMBER + 64;
    Limit(Limit::SMALL.0 + texts * row)
}

/// The body of an answer, if it isn't longer than it can be: a server that never stops must not fill the memory.
async fn bounded(mut response: Response, limit: Limit) -> Result<Vec<u8>, Trouble> {
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
    if announced.is_some_and(|length| length > limit.0) {
        return Err(Seen::TooMuch.into());
    }
    let mut body = Vec::with_capacity(announced.unwrap_or_default());
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if body.len() + chunk.len() > limit.0 {
            return Err(Seen::TooMuch.into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads an answer of success.
///
/// # Errors
///
/// What was seen instead: an answer that isn't what it should be has its status and its body.
pub async fn read<T: DeserializeOwned>(response: Response, limit: Limit) -> Result<T, Trouble> {
    let status = response.status().as_u16();
    let headers = Box::new(response.headers().clone());
    let body = bounded(response, limit).await?;
    serde_json::from_slice(&body).map_err(|_| {
        // The error of serde may quote the body, and the body may quote a text.
        Seen::Answer { status, headers, body: Body(body), after: None }.into()
    })
}

/// Which failure of the transport this is.
#[must_use]
pub fn transport(error: reqwest::Error) -> Trouble {
    let seen = if !error.is_connect() {
        Seen::Broken
    } else if chain(&error).any(is_tls) {
        Seen::Tls
    } else if chain(&error).any(|cause| cause.to_string().starts_with("dns error")) {
        Seen::Name
    } else {
        Seen::Connect
    };
    Trouble { seen, source: Some(error.without_url()) }
}

fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let mut next = error.source();
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        // 1994-11-06 08:49:37.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(pause(" 17 ", now), Some(Duration::from_secs(17)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:49:57 GMT", now), Some(Duration::from_secs(20)));
        assert_eq!(pause("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO), "it is over");
        assert_eq!(pause("soon", now), None);
    }
}
