//! The settings of a gateway, checked once.

use std::net::SocketAddr;
use std::time::Duration;

use embed_core::{Error, ErrorKind, Result};

use crate::auth::ApiKey;
use crate::host::Origins;
use crate::models::ModelEntry;

/// The settings of a gateway.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatewayConfig {
    /// The models on offer, by the names that callers use. The first one answers where a dialect names none (TEI).
    pub models: Vec<ModelEntry>,
    /// Who may call. Without any, everybody may, and only a loopback address is served.
    pub api_keys: Vec<ApiKey>,
    /// Serve an address that other machines reach, without an API key. Off by default.
    pub allow_public_without_key: bool,
    /// Origins of web pages that may call, such as `https://app.example.org`, with a `*` for what varies
    /// (`http://localhost:*`, `https://*.example.org`), or `*` alone. None by default. Where no key is asked for,
    /// pages of this machine may call as well, and those of other origins are refused.
    pub cors_origins: Vec<String>,
    /// What a request may cost before anybody looks at it.
    pub limits: Limits,
    /// How many requests are worked on, and how many wait.
    pub admission: AdmissionConfig,
    /// When a request is given up, if it doesn't say so itself; 120 s by default.
    pub deadline: Duration,
    /// The longest deadline that a request may ask for; an hour by default.
    pub longest_deadline: Duration,
    /// How long the gateway goes on accepting after it said that it isn't ready any more, so that balancers
    /// notice; nothing by default.
    pub readiness_delay: Duration,
    /// How long requests that were accepted may take to end at shutdown; 30 s by default.
    pub drain_limit: Duration,
    /// The version that `/api/version` answers. Clients choose their ways by it, so it is a version that behaves
    /// as this dialect does: 0.9.3 by default.
    pub ollama_version: String,
    /// Certificate and key for TLS in the process; behind a proxy that ends it, none.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::TlsConfig>,
}

/// What a request may cost. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest body; 32 MiB by default. More is a 413.
    pub body_bytes: usize,
    /// The most texts in a request; 20,000 by default (30 MB of vectors at 384 numbers). More is a 413.
    pub rows: usize,
    /// Bytes of all bodies that are held at once; 256 MiB by default. More is a 503.
    pub held_bytes: usize,
    /// The largest head of a request; 16 KiB by default. More is a 431.
    pub header_bytes: usize,
    /// How long the head of a request may take from its first byte, or from the start of its connection for the
    /// first one, TLS handshake included; 30 s by default.
    pub header_timeout: Duration,
    /// How long a connection may be idle between two requests; 75 s by default, which is more than the 60 s that
    /// proxies and balancers keep theirs for. If it were less, they would send requests into connections that are
    /// just being closed.
    pub idle_timeout: Duration,
    /// How long a request's body may take, all of it; 60 s by default.
    pub body_timeout: Duration,
    /// How long a client may take none of its answer; 30 s by default.
    pub write_timeout: Duration,
    /// Connections at once; 1024 by default. Further ones wait in the listener's backlog.
    pub connections: usize,
    /// Connections of one address (of IPv6, one /64) at once; `None`, the default, is a quarter of all and 64 at
    /// least. Further ones get a 503 and are closed. A proxy in front is one address: let it have as many as it
    /// opens. When an address has its share, or all connections are in use, those whose request hasn't come yet
    /// are closed for new ones.
    pub connections_per_address: Option<usize>,
}

/// How requests get to the stack. A request is cut into pieces, and each piece takes its own turn, so that one of
/// ten thousand texts doesn't hold up others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdmissionConfig {
    /// Pieces that are at the stack at once; 64 by default.
    pub concurrency: usize,
    /// Requests that may wait for their first turn; 512 by default, as Ollama has it.
    pub queue: usize,
    /// The most texts of a piece; 64 by default.
    pub piece_rows: usize,
    /// Bytes of text after which a piece ends; 256 KiB by default.
    pub piece_bytes: usize,
    /// Pieces of one request that are at the stack at once; 4 by default. With one, a back end of several workers
    /// would idle at each piece's end.
    pub pieces_at_once: usize,
}

impl GatewayConfig {
    /// Settings for these models.
    #[must_use]
    pub fn new(models: impl IntoIterator<Item = ModelEntry>) -> Self {
        Self {
            models: models.into_iter().collect(),
            api_keys: Vec::new(),
            allow_public_without_key: false,
            cors_origins: Vec::new(),
            limits: Limits::default(),
            admission: AdmissionConfig::default(),
            deadline: Duration::from_secs(120),
            longest_deadline: Duration::from_secs(3600),
            readiness_delay: Duration::ZERO,
            drain_limit: Duration::from_secs(30),
            ollama_version: "0.9.3".to_owned(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Sets who may call.
    #[must_use]
    pub fn with_api_keys(mut self, keys: impl IntoIterator<Item = ApiKey>) -> Self {
        self.api_keys = keys.into_iter().collect();
        self
    }

    /// Sets whether a public address is served without an API key.
    #[must_use]
    pub fn with_public_without_key(mut self, allowed: bool) -> Self {
        self.allow_public_without_key = allowed;
        self
    }

    /// Sets which web pages may call.
    #[must_use]
    pub fn with_cors_origins<O: Into<String>>(mut self, origins: impl IntoIterator<Item = O>) -> Self {
        self.cors_origins = origins.into_iter().map(Into::into).collect();
        self
    }

    /// Sets what a request may cost.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how requests get to the stack.
    #[must_use]
    pub fn with_admission(mut self, admission: AdmissionConfig) -> Self {
        self.admission = admission;
        self
    }

    /// Sets the deadline of a request that names none, and the longest that it may name.
    #[must_use]
    pub fn with_deadlines(mut self, default: Duration, longest: Duration) -> Self {
        self.deadline = default;
        self.longest_deadline = longest;
        self
    }

    /// Sets how long the gateway stays open after it said that it isn't ready, and how long it then waits for
    /// requests to end.
    #[must_use]
    pub fn with_drain(mut self, readiness_delay: Duration, limit: Duration) -> Self {
        self.readiness_delay = readiness_delay;
        self.drain_limit = limit;
        self
    }

    /// Sets the version that `/api/version` answers.
    #[must_use]
    pub fn with_ollama_version(mut self, version: impl Into<String>) -> Self {
        self.ollama_version = version.into();
        self
    }

    /// Sets certificate and key for TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, tls: crate::TlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Checks whether each of the origins is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for one that no page can have.
    pub fn check_origins(&self) -> Result<()> {
        Origins::new(self.cors_origins.iter().map(String::as_str)).map(drop)
    }

    /// Checks everything about the way to the callers before there is a stack: limits, origins, keys, the files of
    /// TLS, and whether an address that other machines reach asks for a key. [`Gateway::bind`](crate::Gateway::bind)
    /// does so, too; this is for programs whose models take long to load.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a setting, which it names.
    pub fn check_listening(&self, address: SocketAddr) -> Result<()> {
        self.check_callers()?;
        #[cfg(feature = "tls")]
        self.tls.as_ref().map(crate::tls::server).transpose()?;
        let local = address.ip().to_canonical().is_loopback();
        if !local && self.api_keys.is_empty() && !self.allow_public_without_key {
            return Err(public_without_key(address));
        }
        Ok(())
    }

    /// Checks everything that can be checked without files; names are checked where models are looked up.
    pub(crate) fn check(&self) -> Result<()> {
        if self.models.is_empty() {
            return Err(wrong("models", "must name at least one model"));
        }
        self.check_callers()
    }

    fn check_callers(&self) -> Result<()> {
        let positive = [
            ("limits.body_bytes", self.limits.body_bytes),
            ("limits.rows", self.limits.rows),
            ("limits.connections", self.limits.connections),
            ("limits.connections_per_address", self.limits.connections_per_address.unwrap_or(1)),
            ("admission.concurrency", self.admission.concurrency),
            ("admission.piece_rows", self.admission.piece_rows),
            ("admission.piece_bytes", self.admission.piece_bytes),
            ("admission.pieces_at_once", self.admission.pieces_at_once),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(wrong(field, "must be at least 1"));
        }
        let lasting = [
            ("limits.header_timeout", self.limits.header_timeout),
            ("limits.idle_timeout", self.limits.idle_timeout),
            ("limits.body_timeout", self.limits.body_timeout),
            ("limits.write_timeout", self.limits.write_timeout),
            ("deadline", self.deadline),
        ];
        if let Some((field, _)) = lasting.iter().find(|(_, value)| value.is_zero()) {
            return Err(wrong(field, "must be longer than nothing"));
        }
        if self.limits.held_bytes < self.limits.body_bytes {
            return Err(wrong("limits.held_bytes", "must be at least limits.body_bytes"));
        }
        // Hyper's buffer can't be smaller.
        if self.limits.header_bytes < 8192 {
            return Err(wrong("limits.header_bytes", "must be at least 8192"));
        }
        if self.longest_deadline < self.deadline {
            return Err(wrong("longest_deadline", "must be at least deadline"));
        }
        if self.ollama_version.is_empty() {
            return Err(wrong("ollama_version", "must not be empty"));
        }
        if self.api_keys.iter().any(ApiKey::is_empty) {
            return Err(wrong("api_keys", "must not hold an empty key"));
        }
        self.check_origins()
    }
}

impl Limits {
    /// Sets the largest body, and what all bodies together may hold.
    #[must_use]
    pub fn with_bytes(mut self, body: usize, held: usize) -> Self {
        self.body_bytes = body;
        self.held_bytes = held;
        self
    }

    /// Sets the most texts in a request.
    #[must_use]
    pub fn with_rows(mut self, rows: usize) -> Self {
        self.rows = rows;
        self
    }

    /// Sets the largest head of a request.
    #[must_use]
    pub fn with_header_bytes(mut self, bytes: usize) -> Self {
        self.header_bytes = bytes;
        self
    }

    /// Sets how long a head, a body, and a stalled answer may take.
    #[must_use]
    pub fn with_timeouts(mut self, header: Duration, body: Duration, write: Duration) -> Self {
        self.header_timeout = header;
        self.body_timeout = body;
        self.write_timeout = write;
        self
    }

    /// Sets how long a connection may be idle between two requests.
    #[must_use]
    pub fn with_idle_timeout(mut self, idle: Duration) -> Self {
        self.idle_timeout = idle;
        self
    }

    /// Sets how many connections of one address there may be at once.
    #[must_use]
    pub fn with_connections_per_address(mut self, connections: usize) -> Self {
        self.connections_per_address = Some(connections);
        self
    }

    /// Connections of one address at once.
    pub(crate) fn share(&self) -> usize {
        self.connections_per_address.unwrap_or((self.connections / 4).max(64))
    }

    /// Sets how many connections there may be at once.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            rows: 20_000,
            held_bytes: 256 << 20,
            header_bytes: 16 << 10,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            connections: 1024,
            connections_per_address: None,
        }
    }
}

impl AdmissionConfig {
    /// Sets how many pieces are at the stack at once, and how many requests wait.
    #[must_use]
    pub fn with_bounds(mut self, concurrency: usize, queue: usize) -> Self {
        self.concurrency = concurrency;
        self.queue = queue;
        self
    }

    /// Sets the size of a piece, and how many of one request are at the stack at once.
    #[must_use]
    pub fn with_pieces(mut self, rows: usize, bytes: usize, at_once: usize) -> Self {
        self.piece_rows = rows;
        self.piece_bytes = bytes;
        self.pieces_at_once = at_once;
        self
    }
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self { concurrency: 64, queue: 512, piece_rows: 64, piece_bytes: 256 << 10, pieces_at_once: 4 }
    }
}

/// Nobody is asked for a key where strangers can call.
pub(crate) fn public_without_key(address: SocketAddr) -> Error {
    let message = "other machines reach this address, and no API key is set: set one (TMWS_GATEWAY_API_KEYS), listen \
                   on 127.0.0.1, or set TMWS_GATEWAY_PUBLIC_WITHOUT_KEY=true if something in front keeps strangers \
                   out (in Rust, `allow_public_without_key`)";
    Error::new(ErrorKind::Config, message).with_context("address", address)
}

/// A setting is wrong.
pub(crate) fn wrong(field: &str, why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the gateway's setting `{field}` {why}"))
}

#[cfg(test)]
mod tests {
    use embed_core::{ModelInfo, Space, Variant};

    use super::*;

    #[test]
    fn each_bad_setting_is_named() {
        let info =
            ModelInfo::builder("test", "m", Variant::new(Space::builder("m", 4).build(), [("v", "1")]));
        let good = GatewayConfig::new([ModelEntry::new("m", info.build())]);
        good.check().unwrap();
        let change = |change: fn(&mut GatewayConfig)| {
            let mut config = good.clone();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        for (error, field) in [
            (change(|c| c.models.clear()), "models"),
            (change(|c| c.limits.rows = 0), "limits.rows"),
            (change(|c| c.limits.held_bytes = 1), "limits.held_bytes"),
            (change(|c| c.limits.header_bytes = 100), "limits.header_bytes"),
            (change(|c| c.limits.body_timeout = Duration::ZERO), "limits.body_timeout"),
            (change(|c| c.admission.concurrency = 0), "admission.concurrency"),
            (change(|c| c.longest_deadline = Duration::from_secs(1)), "longest_deadline"),
            (change(|c| c.cors_origins = vec!["a\nb".to_owned()]), "cors_origins"),
            (change(|c| c.api_keys = vec![ApiKey::new("ci", " ")]), "api_keys"),
            (change(|c| c.ollama_version.clear()), "ollama_version"),
        ] {
            assert!(error.contains(&format!("`{field}`")), "{error}");
        }
    }
}
