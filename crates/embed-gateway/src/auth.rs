//! Who calls: API keys, addresses, and the host that a browser was told.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::http::{HeaderMap, header, uri::Authority};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// A key that lets its holder in, with a name for logs. Only its SHA-256 is kept.
#[derive(Clone)]
pub struct ApiKey {
    name: Arc<str>,
    digest: [u8; 32],
}

/// Whom a request is counted for, when callers take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    /// The holder of the key at this index.
    Key(u16),
    /// A peer without a key; of IPv6 its network, since one host has a whole one.
    Peer(IpAddr),
    /// The router was called without a socket.
    Unknown,
}

/// The other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl ApiKey {
    /// A key. Spaces around it are taken off, since keys come from files and variables.
    pub fn new(name: impl Into<Arc<str>>, key: impl AsRef<str>) -> Self {
        Self { name: name.into(), digest: digest(key.as_ref().trim().as_bytes()) }
    }

    /// The name, which is no secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.digest == digest(b"")
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Caller {
    /// The caller by its connection.
    pub(crate) fn of_peer(peer: Option<Peer>) -> Self {
        match peer.map(|peer| peer.0.ip().to_canonical()) {
            None => Self::Unknown,
            Some(IpAddr::V6(address)) => {
                let network = u128::from(address) & (u128::MAX << 64);
                Self::Peer(Ipv6Addr::from(network).into())
            }
            Some(address) => Self::Peer(address),
        }
    }
}

/// The index of the key that a request carries, in `Authorization: Bearer …` or `x-api-key`.
///
/// Digests are compared, all of them and each in constant time, so the time says nothing of how close a guess was.
pub(crate) fn key_of(headers: &HeaderMap, keys: &[ApiKey]) -> Option<u16> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
    });
    let presented = bearer.or_else(|| headers.get("x-api-key").map(|value| value.as_bytes()))?;
    let presented = digest(presented.trim_ascii());
    let mut found = Choice::from(0);
    let mut at = 0_u16;
    for (index, key) in (0_u16..).zip(keys) {
        let same = key.digest.ct_eq(&presented);
        at.conditional_assign(&index, same);
        found |= same;
    }
    bool::from(found).then_some(at)
}

/// Whether a request to a loopback address was meant for it. A browser that a hostile name server sent here
/// (DNS rebinding) still tells the name of the hostile page.
pub(crate) fn is_local_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            host == "localhost" || host.ends_with(".localhost")
        }
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))])
    }

    #[test]
    fn a_key_is_found_in_either_header() {
        let keys = [ApiKey::new("a", "first key\n"), ApiKey::new("b", "second")];
        for (name, value, expected) in [
            ("authorization", "Bearer first key", Some(0)),
            ("authorization", "bearer second", Some(1)),
            ("x-api-key", "second", Some(1)),
            ("authorization", "Basic second", None),
            ("authorization", "Bearer ", None),
            ("x-api-key", "secon", None),
            ("x-api-key", "", None),
        ] {
            assert_eq!(key_of(&headers(name, value), &keys), expected, "{name}: {value}");
        }
        assert_eq!(key_of(&HeaderMap::new(), &keys), None);
        assert!(!format!("{keys:?}").contains("second"));
    }

    #[test]
    fn hosts_of_other_machines_are_told_apart() {
        for local in ["localhost", "LOCALHOST:80", "a.localhost", "127.0.0.1:11434", "[::1]:80", "0.0.0.0"] {
            assert!(is_local_host(&headers("host", local)), "{local}");
        }
        for other in ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example", "%"] {
            assert!(!is_local_host(&headers("host", other)), "{other}");
        }
    }

    #[test]
    fn one_network_is_one_caller() {
        let peer = |address: &str| Caller::of_peer(Some(Peer(address.parse().unwrap())));
        assert_eq!(peer("[2001:db8::1]:1"), peer("[2001:db8::ffff]:2"));
        assert_ne!(peer("[2001:db8::1]:1"), peer("[2001:db8:0:1::1]:1"));
        assert_eq!(peer("[::ffff:10.0.0.1]:1"), peer("10.0.0.1:2"));
        assert_ne!(peer("10.0.0.1:1"), peer("10.0.0.2:1"));
    }
}
