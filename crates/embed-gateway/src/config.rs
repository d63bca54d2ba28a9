//! The settings of a gateway and their validation.

use std::net::SocketAddr;
use std::time::Duration;

use embed_core::Result;

use crate::auth::ApiKey;
use crate::error::{public_without_key, wrong};
use crate::host::Origins;
use crate::limits::{AdmissionConfig, Limits};
use crate::models::ModelEntry;

/// The settings of a gateway.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatewayConfig {
    /// The available models with their names. The first one answers if a dialect can't name one (TEI).
    pub models: Vec<ModelEntry>,
    /// The API keys. Without any, no key is required, and only a loopback address is served.
    pub api_keys: Vec<ApiKey>,
    /// Serve an address that other machines can reach without an API key. Off by default.
    pub allow_public_without_key: bool,
    /// Origins of web pages that may call, such as `https://app.example.org`, with a `*` for a variable part
    /// (`http://localhost:*`, `https://*.example.org`), or `*` for all. None by default. If no key is required,
    /// pages of this machine may call as well, and those of other origins are refused.
    pub cors_origins: Vec<String>,
    /// The limits of requests and connections.
    pub limits: Limits,
    /// How many requests are processed concurrently, and how many wait.
    pub admission: AdmissionConfig,
    /// The deadline of a request that doesn't set one; 120 s by default.
    pub deadline: Duration,
    /// The longest deadline that a request may set; an hour by default.
    pub longest_deadline: Duration,
    /// How long the gateway goes on accepting connections after it has become unready, so that load balancers notice; zero
    /// by default.
    pub readiness_delay: Duration,
    /// How long accepted requests may take to finish at shutdown; 30 s by default.
    pub drain_limit: Duration,
    /// The version that `/api/version` answers. Clients adapt to it, so it should be one that behaves like this dialect:
    /// 0.9.3 by default.
    pub ollama_version: String,
    /// Certificate and key for TLS in the process; none behind a proxy that terminates TLS.
    #[cfg(feature = "tls")]
    pub tls: Option<crate::TlsConfig>,
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

    /// Sets the API keys.
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

    /// Sets the limits of requests and connections.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how requests are admitted to the stack.
    #[must_use]
    pub fn with_admission(mut self, admission: AdmissionConfig) -> Self {
        self.admission = admission;
        self
    }

    /// Sets the deadline of a request that doesn't set one, and the longest that it may set.
    #[must_use]
    pub fn with_deadlines(mut self, default: Duration, longest: Duration) -> Self {
        self.deadline = default;
        self.longest_deadline = longest;
        self
    }

    /// Sets how long the gateway stays open after it has become unready, and how long it then waits for requests to
    /// finish.
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

    /// Validates the origins.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) for one that no page can have.
    pub fn check_origins(&self) -> Result<()> {
        Origins::new(self.cors_origins.iter().map(String::as_str)).map(drop)
    }

    /// Validates everything that doesn't need a stack: limits, origins, keys, the files of TLS, and whether a key is
    /// required at an address that other machines can reach. [`Gateway::bind`](crate::Gateway::bind) does the same; this
    /// is for programs whose models take long to load.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) for an invalid setting, which it names.
    pub fn check_listening(&self, address: SocketAddr) -> Result<()> {
        self.check()?;
        #[cfg(feature = "tls")]
        self.tls.as_ref().map(crate::tls::server).transpose()?;
        let local = address.ip().to_canonical().is_loopback();
        if !local && self.api_keys.is_empty() && !self.allow_public_without_key {
            return Err(public_without_key(address));
        }
        Ok(())
    }

    /// Validates everything that doesn't need files; the catalogue validates the names of models.
    pub(crate) fn check(&self) -> Result<()> {
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
            return Err(wrong(field, "must be more than zero"));
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
            return Err(wrong("api_keys", "must not contain an empty key"));
        }
        self.check_origins()
    }
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
