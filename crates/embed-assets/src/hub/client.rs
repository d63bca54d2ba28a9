//! Requests to the hub: redirects, the token, deadlines, and what each failure means.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use embed_core::{Error, ErrorKind, Retry};
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, IF_RANGE, LOCATION,
};
use reqwest::header::{RANGE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::time::timeout;

use super::content::ContentId;
use super::{HubOptions, Proxy};

const MOST_REDIRECTS: usize = 10;

/// Sends requests and remembers which hosts have answered.
#[derive(Debug)]
pub(super) struct Client<'a> {
    options: &'a HubOptions,
    http: OnceLock<reqwest::Client>,
    answered: Mutex<HashSet<String>>,
}

/// A request for (the rest of) a file.
#[derive(Debug)]
pub(super) struct FileRequest<'a> {
    pub(super) repository: &'a str,
    pub(super) revision: &'a str,
    pub(super) path: &'a str,
    /// How many bytes are there already.
    pub(super) offset: u64,
    /// What says that the bytes that are there belong to the same file.
    pub(super) validator: Option<&'a str>,
}

/// What the hub says about a file, wherever its bytes come from.
#[derive(Debug, Default)]
pub(super) struct FileFacts {
    pub(super) content: Option<ContentId>,
    pub(super) bytes: Option<u64>,
}

/// A failed attempt.
#[derive(Debug)]
pub(super) struct FailedTry {
    pub(super) error: Error,
    /// Whether another attempt makes sense now. A host that has never answered isn't tried again.
    pub(super) again: bool,
}

impl FailedTry {
    pub(super) fn last(error: Error) -> Self {
        Self { error, again: false }
    }

    pub(super) fn again(error: Error) -> Self {
        Self { error, again: true }
    }
}

impl<'a> Client<'a> {
    pub(super) fn new(options: &'a HubOptions) -> Self {
        Self { options, http: OnceLock::new(), answered: Mutex::default() }
    }

    /// Requests a file and follows redirects until a response has the bytes.
    pub(super) async fn open(&self, wanted: &FileRequest<'_>) -> Result<(FileFacts, Response), FailedTry> {
        let http = self.http().map_err(FailedTry::last)?;
        let endpoint = Url::parse(&self.options.endpoint).ok().filter(Url::has_host).ok_or_else(|| {
            let what =
                "HF_ENDPOINT is not the address of a server; set it to one like https://huggingface.co";
            FailedTry::last(Error::new(ErrorKind::Config, what))
        })?;
        let address = format!(
            "{}/{}/resolve/{}/{}",
            endpoint.as_str().trim_end_matches('/'),
            wanted.repository,
            wanted.revision,
            wanted.path
        );
        let mut url = Url::parse(&address).map_err(|error| {
            FailedTry::last(protocol("the hub's address can't be built").with_source(error))
        })?;
        let mut announced = FileFacts::default();
        for _ in 0..MOST_REDIRECTS {
            let at_home = url.origin() == endpoint.origin();
            let response = self.send(http, &url, at_home, wanted).await?;
            if at_home && !response.status().is_client_error() && !response.status().is_server_error() {
                announced.add(response.headers(), wanted).map_err(FailedTry::last)?;
            }
            if !response.status().is_redirection() {
                check(&response, at_home, self.options.token.is_some(), wanted)?;
                return Ok((announced, response));
            }
            let next = response
                .headers()
                .get(LOCATION)
                .and_then(|location| url.join(location.to_str().ok()?).ok())
                .ok_or_else(|| FailedTry::last(protocol("the hub sends elsewhere without saying where")))?;
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(FailedTry::last(protocol("the hub sends from https to a place without it")));
            }
            url = next;
        }
        Err(FailedTry::last(protocol("the hub sends from place to place without end")))
    }

    async fn send(
        &self,
        http: &reqwest::Client,
        url: &Url,
        at_home: bool,
        wanted: &FileRequest<'_>,
    ) -> Result<Response, FailedTry> {
        let host =
            format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(0));
        let mut request = http.get(url.clone()).header(ACCEPT_ENCODING, "identity");
        // Somebody else may run the store that has the bytes, so it must not get the token.
        if at_home && let Some(token) = self.options.token.as_ref().and_then(|token| token.header()) {
            request = request.header(AUTHORIZATION, token);
        }
        if wanted.offset > 0 {
            request = request.header(RANGE, format!("bytes={}-", wanted.offset));
            if let Some(validator) =
                wanted.validator.and_then(|validator| HeaderValue::from_str(validator).ok())
            {
                request = request.header(IF_RANGE, validator);
            }
        }
        let known = self.answered().contains(&host);
        let patience = &self.options.patience;
        let limit = if known { patience.response } else { patience.first_response };
        match timeout(limit, request.send()).await {
            Ok(Ok(response)) => {
                self.answered().insert(host);
                Ok(response)
            }
            Ok(Err(error)) => {
                let (kind, what) = if error.is_timeout() {
                    (ErrorKind::Timeout, "can't be connected to in time")
                } else if error.is_connect() {
                    (ErrorKind::Unavailable, "can't be connected to")
                } else {
                    (ErrorKind::Unavailable, "broke the connection off")
                };
                Err(FailedTry {
                    error: silent(kind, &host, what).with_source(error.without_url()),
                    again: known,
                })
            }
            Err(_) => {
                let what = format!("says nothing for {}", seconds(limit));
                Err(FailedTry { error: silent(ErrorKind::Timeout, &host, &what), again: known })
            }
        }
    }

    fn answered(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client. It is built when it is first needed, so that no certificates are needed where the hub's cache has every
    /// file.
    fn http(&self) -> Result<&reqwest::Client, Error> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        // `ring` is passed here and not installed for the whole process: that is up to the program.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(BuilderVerifierExt::with_platform_verifier)
            .map_err(|error| {
                let what = "the system's certificates can't be read; install the package ca-certificates";
                Error::new(ErrorKind::Config, what).with_source(error)
            })?
            .with_no_client_auth();
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("embed-assets/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.options.patience.connect)
            .redirect(Policy::none())
            .http1_only();
        if self.options.proxy == Proxy::Direct {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| {
            Error::new(ErrorKind::Config, "the HTTP client can't be built; check the proxy variables")
                .with_source(error.without_url())
        })?;
        Ok(self.http.get_or_init(|| http))
    }
}

impl FileFacts {
    fn add(&mut self, headers: &HeaderMap, wanted: &FileRequest<'_>) -> Result<(), Error> {
        let text = |name: &'static str| {
            headers.get(HeaderName::from_static(name)).and_then(|value| value.to_str().ok())
        };
        match text("x-repo-commit") {
            Some(commit) if commit == wanted.revision => {}
            Some(commit) => {
                return Err(protocol("the hub answers with another commit than the pinned one")
                    .with_context("asked", wanted.revision)
                    .with_context("got", commit.escape_debug()));
            }
            // A captive portal answers every request with its log-in page.
            None => {
                return Err(protocol(
                    "what answers is not the Hugging Face hub; check HF_ENDPOINT, the proxy variables and \
                     whether this network wants a log-in",
                ));
            }
        }
        if self.content.is_none() {
            // A small file comes from the hub itself, and its tag is git's id.
            let tag = text("x-linked-etag").or_else(|| text("etag"));
            self.content = tag.and_then(ContentId::parse);
        }
        if self.bytes.is_none() {
            self.bytes = text("x-linked-size").and_then(|size| size.parse().ok());
        }
        Ok(())
    }
}

/// Turns a status into an error, unless it says that bytes follow or that there are no more.
fn check(
    response: &Response,
    at_home: bool,
    has_token: bool,
    wanted: &FileRequest<'_>,
) -> Result<(), FailedTry> {
    let status = response.status();
    if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE) {
        return Ok(());
    }
    let FileRequest { repository, revision, path, .. } = wanted;
    let after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let temporary = |kind, what: String| {
        let error = Error::new(kind, what).with_context("status", status.as_u16());
        FailedTry::again(error.with_retry(Retry::Temporary { after }))
    };
    let permanent =
        |kind, what: String| FailedTry::last(Error::new(kind, what).with_context("status", status.as_u16()));
    Err(match status.as_u16() {
        429 => temporary(
            ErrorKind::RateLimited,
            "the Hugging Face hub is asked too often; try again later, or set HF_TOKEN".to_owned(),
        ),
        408 | 425 | 500..=599 => temporary(
            ErrorKind::Unavailable,
            format!("the Hugging Face hub can't give {path} now; try again later"),
        ),
        407 => permanent(
            ErrorKind::Unauthorized,
            "the proxy wants a name and a password; put them into HTTPS_PROXY".to_owned(),
        ),
        // Links to the store expire, and the hub makes new ones.
        401 | 403 | 404 if !at_home => temporary(
            ErrorKind::Unavailable,
            format!("the store behind the Hugging Face hub refuses {path}; try again later"),
        ),
        401 | 403 if has_token => permanent(
            ErrorKind::Unauthorized,
            format!(
                "the Hugging Face hub refuses {repository} to this token; set HF_TOKEN to one that may read it"
            ),
        ),
        401 | 403 => permanent(
            ErrorKind::Unauthorized,
            format!("the Hugging Face hub wants to know who asks for {repository}; set HF_TOKEN"),
        ),
        404 => permanent(
            ErrorKind::ModelNotFound,
            format!("there is no such file as {path} in {repository} at {revision}; check HF_ENDPOINT"),
        ),
        _ => permanent(
            ErrorKind::Protocol,
            format!("the Hugging Face hub gives an answer for {path} that it must not give"),
        ),
    })
}

pub(super) fn protocol(what: &str) -> Error {
    Error::new(ErrorKind::Protocol, what)
}

fn silent(kind: ErrorKind, host: &str, what: &str) -> Error {
    Error::new(kind, format!("{host} {what}; check the network, HF_ENDPOINT and HTTPS_PROXY")).temporary()
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
