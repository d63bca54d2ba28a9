//! The settings of the Redis tier and their validation.

use std::path::PathBuf;
use std::time::Duration;

use embed_core::{Error, ErrorKind};

use super::RedisUrl;

/// Settings of a [`RedisTier`](super::RedisTier).
///
/// [`RedisTier::connect`](super::RedisTier::connect) validates them; an error names the field.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RedisConfig {
    /// The server's address.
    pub url: RedisUrl,
    /// The name of the tier in rows, labels and logs; a cache over two servers needs two names.
    pub name: String,
    /// The prefix of every key, before a colon, so that others can use the same database.
    pub prefix: String,
    /// How long an entry lives, plus or minus a tenth, so that entries written together don't expire together.
    pub ttl: Duration,
    /// How long connecting may take, authentication included, and how long a command may go unanswered before its
    /// connection is replaced.
    pub connect_timeout: Duration,
    /// The number of connections to the server, or to each node of a cluster. Commands of many callers are pipelined on
    /// one connection: with 64 callers of 32 rows each, eight connections were only a tenth faster than one, since Redis
    /// itself is single-threaded (benchmark `redis`).
    pub connections: usize,
    /// A file with certificates (PEM) to trust in addition to the system's, for `rediss`.
    pub ca_file: Option<PathBuf>,
    /// The files with the certificate chain and the key (PEM) of this client, if the server requires them, for `rediss`.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

impl RedisConfig {
    /// The default of [`prefix`](Self::prefix).
    pub const PREFIX: &str = "embed";

    /// The default settings for an address.
    #[must_use]
    pub fn new(url: RedisUrl) -> Self {
        // A server on this machine answers within a millisecond, a remote one in a few; one that needs a second has
        // a problem.
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

    /// Sets the prefix of every key.
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

    /// Sets [`connect_timeout`](Self::connect_timeout).
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

    /// Sets the file with additional certificates to trust.
    #[must_use]
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// Sets the files with this client's certificate chain and key.
    #[must_use]
    pub fn with_client_certificate(
        mut self,
        certificates: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.client_certificate = Some((certificates.into(), key.into()));
        self
    }

    /// Validates every field; the URL is already valid.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |field: &'static str, what: &str| {
            Err(Error::new(ErrorKind::Config, format!("{field} {what}")).with_context("field", field))
        };
        if self.prefix.is_empty() {
            return wrong("prefix", "is empty; without one, clearing would empty the whole database");
        }
        // Redis counts in whole milliseconds and refuses times too far in the future.
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
