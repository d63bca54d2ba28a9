//! The settings of the Redis tier, and their one check.

use std::path::PathBuf;
use std::time::Duration;

use embed_core::{Error, ErrorKind};

use super::RedisUrl;

/// Settings of a [`RedisTier`](super::RedisTier).
///
/// All of it is checked once, by [`RedisTier::connect`](super::RedisTier::connect); an error names the field.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RedisConfig {
    /// Where it is.
    pub url: RedisUrl,
    /// The name of the tier, which rows, labels and logs have; a cache over two servers needs two.
    pub name: String,
    /// What every key begins with, before a colon, so that others may use the same database.
    pub prefix: String,
    /// How long an entry lives, give or take a tenth, so that what was written together doesn't go together.
    pub ttl: Duration,
    /// How long a connection may take to be made, the log-in included, and how long one may be silent about a
    /// command before it is made anew.
    pub connect_timeout: Duration,
    /// Connections, to each node of a cluster. Commands of many callers share one and don't wait for each
    /// other's answers: for 64 callers of 32 rows each, eight connections gave a tenth more than one, since
    /// Redis itself does one thing at a time (benchmark `redis`).
    pub connections: usize,
    /// A file with certificates (PEM) to trust beside those of the system, for `rediss`.
    pub ca_file: Option<PathBuf>,
    /// The files with the certificates and the key (PEM) that a server may ask this client for, for `rediss`.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

impl RedisConfig {
    /// What keys begin with unless [`prefix`](Self::prefix) says otherwise.
    pub const PREFIX: &str = "embed";

    /// The default settings for an address.
    #[must_use]
    pub fn new(url: RedisUrl) -> Self {
        // One server on this machine answers in less than a millisecond, another one in a few; a second is a
        // server in trouble.
        let connect_timeout = Duration::from_secs(1);
        Self {
            url,
            name: "redis".to_owned(),
            prefix: Self::PREFIX.to_owned(),
            ttl: Duration::from_secs(3600),
            connect_timeout,
            connections: 1,
            ca_file: None,
            client_certificate: None,
        }
    }

    /// Sets the name of the tier.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets what every key begins with.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how long an entry lives.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets how long a connection may take to be made, and to be silent.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the number of connections.
    #[must_use]
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Sets the file with certificates to trust.
    #[must_use]
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// Sets the files with this client's certificates and key.
    #[must_use]
    pub fn with_client_certificate(
        mut self,
        certificates: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.client_certificate = Some((certificates.into(), key.into()));
        self
    }

    /// Checks every field; the URL is checked already.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |field: &'static str, what: &str| {
            Err(Error::new(ErrorKind::Config, format!("{field} {what}")).with_context("field", field))
        };
        if self.prefix.is_empty() {
            return wrong("prefix", "is empty; without one, clearing would empty the whole database");
        }
        // Redis counts in whole milliseconds, and refuses times that lie too far ahead.
        if self.ttl < Duration::from_millis(10) || self.ttl > Duration::from_secs(100 * 365 * 86_400) {
            return wrong("ttl", "must be at least 10 ms and at most 100 years");
        }
        if self.connect_timeout.is_zero() {
            return wrong("connect_timeout", "must be more than 0");
        }
        if self.connections == 0 || self.connections > 1_000 {
            return wrong("connections", "must be at least 1 and at most 1000");
        }
        let tls_only =
            [("ca_file", self.ca_file.is_some()), ("client_certificate", self.client_certificate.is_some())];
        match tls_only.into_iter().find(|(_, set)| *set && !self.url.uses_tls()) {
            Some((field, _)) => wrong(field, "is set, but the URL asks for no TLS; write rediss in it"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_field() {
        let url: RedisUrl = "redis://:hush@h".parse().unwrap();
        let with = |change: fn(&mut RedisConfig)| {
            let mut config = RedisConfig::new(url.clone());
            assert!(config.check().is_ok());
            change(&mut config);
            let error = config.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!format!("{config:?} {error:?}").contains("hush"));
            error.context().map(|(_, field)| field.to_owned()).next().unwrap()
        };
        assert_eq!(with(|c| c.prefix.clear()), "prefix");
        assert_eq!(with(|c| c.ttl = Duration::ZERO), "ttl");
        assert_eq!(with(|c| c.ttl = Duration::MAX), "ttl");
        assert_eq!(with(|c| c.connect_timeout = Duration::ZERO), "connect_timeout");
        assert_eq!(with(|c| c.connections = 0), "connections");
        assert_eq!(with(|c| c.ca_file = Some("ca.pem".into())), "ca_file");
        assert_eq!(with(|c| c.client_certificate = Some(("a".into(), "b".into()))), "client_certificate");
    }
}
