//! The URL of a Redis: validated once, its passwords never shown.

use std::fmt;
use std::str::FromStr;

use embed_core::{Error, ErrorKind};
use fred::types::config::{Config, Server, ServerConfig};
use url::Url;

/// The address of a Redis, with its credentials. `Display` and `Debug` show `***` for passwords.
///
/// | form | what |
/// |---|---|
/// | `redis://[[USER:]PASSWORD@]HOST[:PORT][/DATABASE]` | one server |
/// | `redis-cluster://…HOST[:PORT][?node=HOST:PORT&node=…]` | a cluster; one node is enough to find the others |
/// | `redis-sentinel://…HOST[:PORT][/DATABASE]?sentinelServiceName=NAME[&node=HOST:PORT…]` | the master that sentinels name; the hosts are the sentinels' |
/// | `redis+unix:///PATH` | a Unix socket |
///
/// `rediss`, `rediss-cluster` and `rediss-sentinel` are the same with TLS (feature `redis-rustls`), and `valkey`
/// is the same as `redis`. The default port is 6379, for a sentinel 26379. A cluster has only one database.
/// The sentinels' credentials are `sentinelUsername` and `sentinelPassword`.
/// Special characters of URLs must be percent-encoded, in passwords too.
///
/// ```
/// use embed_cache::RedisUrl;
///
/// let url: RedisUrl = "redis://cache:hunter2@10.0.0.7/3".parse()?;
/// assert_eq!(url.to_string(), "redis://cache:***@10.0.0.7/3");
/// # Ok::<(), embed_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    url: Url,
}

/// The kind of server at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deployment {
    Single,
    Cluster,
    Sentinel,
    Socket,
}

const HIDDEN: &str = "***";
const SENTINEL_PASSWORD: &str = "sentinelPassword";
const SENTINEL_NAME: &str = "sentinelServiceName";

impl RedisUrl {
    /// The client's settings for this address, without those for TLS.
    pub(super) fn config(&self) -> Result<Config, Error> {
        // For TLS the client would read the system's certificates here; it gets our settings instead.
        let plain = self.url.as_str().replacen("rediss", "redis", 1).replacen("valkeys", "valkey", 1);
        let plain = if self.uses_tls() { plain.as_str() } else { self.url.as_str() };
        // The client's own error may quote the URL.
        let mut config = Config::from_url(plain)
            .map_err(|_| wrong("has a database, a port or a node=HOST:PORT that is invalid"))?;
        match &mut config.server {
            ServerConfig::Centralized { server } => bare_host(server),
            ServerConfig::Clustered { hosts, .. } | ServerConfig::Sentinel { hosts, .. } => {
                hosts.iter_mut().for_each(bare_host);
            }
            #[cfg(unix)]
            ServerConfig::Unix { .. } => {}
        }
        Ok(config)
    }

    /// Whether the URL is one with TLS.
    pub(super) fn uses_tls(&self) -> bool {
        let scheme = self.url.scheme();
        scheme.starts_with("rediss") || scheme.starts_with("valkeys")
    }

    fn check(&self) -> Result<(), Error> {
        let Some(deployment) = deployment(self.url.scheme()) else {
            return Err(wrong(
                "has to begin with redis://, redis-cluster://, redis-sentinel:// or redis+unix://, or for TLS with \
                 rediss instead of redis",
            ));
        };
        if self.uses_tls() && !cfg!(feature = "redis-rustls") {
            return Err(wrong(
                "needs TLS, which this build doesn't have; build it with the feature redis-rustls",
            ));
        }
        if deployment != Deployment::Socket && self.url.host_str().is_none_or(str::is_empty) {
            return Err(wrong("names no host"));
        }
        if !self.url.username().is_empty() && self.url.password().is_none_or(str::is_empty) {
            return Err(wrong(
                "has a user without a password; a password alone is written redis://:PASSWORD@HOST",
            ));
        }
        if deployment == Deployment::Cluster && !matches!(self.url.path(), "" | "/" | "/0") {
            return Err(wrong("names a database, but a cluster has only one; leave it out"));
        }
        let parameters: &[&str] = match deployment {
            Deployment::Single | Deployment::Socket => &[],
            Deployment::Cluster => &["node"],
            Deployment::Sentinel => &["node", SENTINEL_NAME, "sentinelUsername", SENTINEL_PASSWORD],
        };
        if self.url.query_pairs().any(|(name, _)| !parameters.contains(&&*name)) {
            return Err(wrong("has an unknown parameter after the ?; see the forms of RedisUrl"));
        }
        if deployment == Deployment::Sentinel
            && !self.url.query_pairs().any(|(name, value)| name == SENTINEL_NAME && !value.is_empty())
        {
            return Err(wrong(
                "names no master; add ?sentinelServiceName=NAME, the name that the sentinels know",
            ));
        }
        self.config().map(drop)
    }
}

fn deployment(scheme: &str) -> Option<Deployment> {
    Some(match scheme {
        "redis" | "rediss" | "valkey" | "valkeys" => Deployment::Single,
        "redis-cluster" | "rediss-cluster" | "valkey-cluster" | "valkeys-cluster" => Deployment::Cluster,
        "redis-sentinel" | "rediss-sentinel" | "valkey-sentinel" | "valkeys-sentinel" => Deployment::Sentinel,
        "redis+unix" | "valkey+unix" if cfg!(unix) => Deployment::Socket,
        _ => return None,
    })
}

/// Removes the brackets around an IPv6 address, because the client passes the URL's host to the resolver unchanged.
fn bare_host(server: &mut Server) {
    if let Some(address) = server.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        *server = Server::new(address.to_owned(), server.port);
    }
}

/// An error without any part of the URL.
fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the Redis URL {what}")).with_context("field", "url")
}

impl FromStr for RedisUrl {
    type Err = Error;

    /// Parses and validates an address.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], without any part of the URL.
    fn from_str(url: &str) -> Result<Self, Error> {
        let url = Url::parse(url.trim())
            .map_err(|_| wrong("is not a URL; special characters in a password must be percent-encoded"))?;
        let url = Self { url };
        url.check()?;
        Ok(url)
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.url.clone();
        if shown.password().is_some() && shown.set_password(Some(HIDDEN)).is_err() {
            // Unreachable: a URL with a password can have another one.
            return f.write_str(HIDDEN);
        }
        if shown.query_pairs().any(|(name, _)| name == SENTINEL_PASSWORD) {
            let hide = |name: &str| name == SENTINEL_PASSWORD;
            shown.query_pairs_mut().clear().extend_pairs(self.url.query_pairs().map(|(name, value)| {
                let value = if hide(&name) { HIDDEN.into() } else { value };
                (name, value)
            }));
        }
        f.write_str(shown.as_str())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        let error = url.parse::<RedisUrl>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        error.to_string()
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("redis://:hush@h:1/2", "redis://:***@h:1/2"),
            ("redis-cluster://u:hush@h:1?node=i:2", "redis-cluster://u:***@h:1?node=i:2"),
            (
                "redis-sentinel://u:hush@h?sentinelServiceName=m&sentinelPassword=hush%21&node=i:2",
                "redis-sentinel://u:***@h?sentinelServiceName=m&sentinelPassword=***&node=i%3A2",
            ),
            ("redis://127.0.0.1", "redis://127.0.0.1"),
        ] {
            let url: RedisUrl = url.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("hush"));
        }
    }

    #[test]
    fn errors_do_not_contain_the_url() {
        assert!(refused("hush").contains("is not a URL"));
        assert!(refused("http://u:hush@h").contains("begin with redis://"));
        assert!(refused("redis://u:hush@h:99999").contains("is not a URL"));
        assert!(refused("redis://u:hush@h/hush").contains("database"));
        assert!(refused("redis://u:hush@h/1/2").contains("database"));
        assert!(refused("redis://u:hush@h/256").contains("database"));
        assert!(refused("redis://hush@h").contains("user without a password"));
        assert!(refused("redis://u:hush@h?db=hush").contains("parameter"));
        assert!(refused("redis-cluster://u:hush@h/3").contains("only one"));
        assert!(refused("redis-cluster://u:hush@h?node=hush").contains("node=HOST:PORT"));
        assert!(refused("redis-sentinel://u:hush@h").contains("sentinelServiceName"));
        if !cfg!(feature = "redis-rustls") {
            assert!(refused("rediss://u:hush@h").contains("feature redis-rustls"));
        }
    }

    #[test]
    fn an_address_is_what_the_client_gets() {
        let config = |url: &str| url.parse::<RedisUrl>().unwrap().config().unwrap();
        let single = config("redis://u:p%40ss@h/3");
        assert_eq!(single.server, ServerConfig::new_centralized("h", 6379));
        assert_eq!(single.username.as_deref(), Some("u"));
        assert_eq!(single.password.as_deref(), Some("p@ss"));
        assert_eq!(single.database, Some(3));
        assert_eq!(config("redis://[::1]:7").server, ServerConfig::new_centralized("::1", 7));
        assert_eq!(config("valkey://h:7").server, ServerConfig::new_centralized("h", 7));
        assert!(config("redis-cluster://h:7").server.is_clustered());
        assert!(config("redis-sentinel://h?sentinelServiceName=m").server.is_sentinel());
        #[cfg(unix)]
        assert!(config("redis+unix:///run/redis.sock").server.is_unix_socket());
        #[cfg(feature = "redis-rustls")]
        assert_eq!(config("rediss://h:7/1").server, ServerConfig::new_centralized("h", 7));
    }
}
