//! One server's HTTP: the client, and what its failures mean.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use embed_core::{Error, ErrorKind, TraceContext};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::util::MapResponseLayer;

use super::tls::{is_tls, secured};
use crate::address::{is_loopback, without_credentials};
use crate::config::{Checked, OllamaConfig};
use crate::failure::Seen;
use crate::wire::{ErrorBody, is_json};

pub(crate) struct Http {
    client: reqwest::Client,
    base: String,
    /// The base with user and password, of which the client makes a header.
    target: String,
    name: String,
    /// Connections that were made so far.
    connects: Arc<AtomicUsize>,
}

/// What was seen, and the cause underneath, if there is one.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) seen: Seen,
    pub(crate) source: Option<reqwest::Error>,
}

impl From<Seen> for Trouble {
    fn from(seen: Seen) -> Self {
        Self { seen, source: None }
    }
}

/// Without the password.
impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Http {
    pub(crate) fn new(url: &Url, config: &OllamaConfig, checked: &Checked) -> Result<Self, Error> {
        let bare = without_credentials(url);
        // A token that was set says more than user and password in the address.
        let target = if checked.headers.contains_key(AUTHORIZATION) { &bare } else { url };
        let mut builder = secured(reqwest::Client::builder(), url)?
            .user_agent(concat!("embed-ollama/", env!("CARGO_PKG_VERSION")))
            .default_headers(checked.headers.clone())
            .connect_timeout(config.connect_timeout)
            .pool_max_idle_per_host(config.pool_size)
            // Ollama keeps idle connections for ever; what stands between may cut them after a minute.
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
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Connections that were made so far: as long as it stays the same, so does the server.
    pub(crate) fn connects(&self) -> usize {
        self.connects.load(Ordering::SeqCst)
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str, limit: Limit) -> Result<T, Trouble> {
        let response = self.send(self.client.get(self.url(path))).await?;
        read(response, limit).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Limit,
    ) -> Result<T, Trouble> {
        let response = self.open(path, body).await?;
        read(response, limit).await
    }

    /// The same in the trace of a caller.
    pub(crate) async fn post_for<T: DeserializeOwned>(
        &self,
        trace: &TraceContext,
        path: &str,
        body: &impl Serialize,
        limit: Limit,
    ) -> Result<T, Trouble> {
        let request = trace
            .headers()
            .fold(self.posting(path, body), |request, (name, value)| request.header(name, value));
        let response = self.send(request).await?;
        read(response, limit).await
    }

    /// Sends, and leaves the body of the answer to the caller.
    pub(crate) async fn open(&self, path: &str, body: &impl Serialize) -> Result<Response, Trouble> {
        self.send(self.posting(path, body)).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.target)
    }

    fn posting(&self, path: &str, body: &impl Serialize) -> RequestBuilder {
        // Only maps with keys that aren't text and failing writers fail; the messages here have neither.
        let body = serde_json::to_vec(body).unwrap_or_default();
        self.client.post(self.url(path)).header(CONTENT_TYPE, "application/json").body(body)
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Trouble> {
        let response = request.send().await.map_err(transport)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        // The status says enough where the body is too long to be an error's.
        let body = match bounded(response, Limit::ERROR).await {
            Err(Trouble { seen: Seen::TooMuch, .. }) => Vec::new(),
            body => body?,
        };
        Err(Seen::Answer { status, json: is_json(&body), body: ErrorBody::read(&body), after }.into())
    }
}

/// How many bytes an answer may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(usize);

impl Limit {
    /// A version.
    pub(crate) const SMALL: Self = Self(64 << 10);
    /// An error's message.
    const ERROR: Self = Self(64 << 10);
    /// A list of models, or one described with its licence.
    pub(crate) const LIST: Self = Self(16 << 20);
}

/// Bytes that a number takes at most, with what stands around it: `-1.1754944e-38,` and some spaces.
const NUMBER: usize = 32;

/// The width that is allowed while the model's isn't known.
const WIDEST: usize = 1 << 16;

/// What the rows of so many texts may take.
pub(crate) fn rows_limit(texts: usize, dimension: Option<usize>) -> Limit {
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

async fn read<T: DeserializeOwned>(response: Response, limit: Limit) -> Result<T, Trouble> {
    let status = response.status().as_u16();
    let body = bounded(response, limit).await?;
    serde_json::from_slice(&body).map_err(|_| {
        // The error of serde may quote the body, and the body may quote a text.
        Seen::Answer { status, json: is_json(&body), body: ErrorBody::Foreign, after: None }.into()
    })
}

/// Which failure of the transport this is.
pub(crate) fn transport(error: reqwest::Error) -> Trouble {
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
