//! API keys and peers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::connections::Connection;

/// An API key with a name for logs. Only its SHA-256 is kept.
#[derive(Clone)]
pub struct ApiKey {
    name: Arc<str>,
    digest: [u8; 32],
}

/// The other end of the connection, and the listener that accepted it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// Only this machine can reach the listener.
    pub(crate) local: bool,
    /// It is the listener for operators.
    pub(crate) admin: bool,
    pub(crate) connection: Arc<Connection>,
}

impl ApiKey {
    /// A key. Surrounding white space is removed, since keys come from files and variables.
    pub fn new(name: impl Into<Arc<str>>, key: impl AsRef<str>) -> Self {
        Self { name: name.into(), digest: digest(key.as_ref().trim().as_bytes()) }
    }

    /// The name, which isn't secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is the same key, whatever its name.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest.ct_eq(&other.digest).into()
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
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

/// The index of the request's key, from `Authorization: Bearer …` or `x-api-key`.
///
/// It compares all digests, each in constant time, so that the time doesn't reveal how close a guess was.
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
}
