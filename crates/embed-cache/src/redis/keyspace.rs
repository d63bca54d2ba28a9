//! The keys of entries in Redis and their lifetimes.

use std::time::Duration;

use fred::bytes::{BufMut, Bytes, BytesMut};

use crate::{Key, Namespace};

/// The keys of one tier: the prefix of the configuration, a colon, the bytes of the key.
#[derive(Debug)]
pub(super) struct Keyspace {
    prefix: Bytes,
    ttl: Duration,
}

impl Keyspace {
    pub(super) fn new(prefix: &str, ttl: Duration) -> Self {
        Self { prefix: format!("{prefix}:").into(), ttl }
    }

    /// The key in Redis.
    pub(super) fn of(&self, key: &Key) -> Bytes {
        self.join(&key.to_bytes())
    }

    /// The prefix of all keys of a namespace, or without one of all keys of this tier.
    pub(super) fn start(&self, namespace: Option<&Namespace>) -> Bytes {
        namespace.map_or_else(|| self.prefix.clone(), |namespace| self.join(&namespace.prefix()))
    }

    /// The id of the variant of a key in Redis; `None` if the key is of another schema or other software.
    pub(super) fn variant<'k>(&self, key: &'k [u8]) -> Option<&'k str> {
        Namespace::variant_of(key.strip_prefix(&*self.prefix)?)
    }

    /// The lifetime of a key in milliseconds: the TTL plus or minus a tenth. At a TTL of an hour, that spreads the expiry
    /// of entries written in the same second over minutes, and is otherwise too little to notice. The jitter is derived
    /// from the digest of the text, which is as good as random.
    pub(super) fn lifetime(&self, key: &Key) -> i64 {
        let [.., a, b, c, d] = *key.digest();
        let random = f64::from(u32::from_le_bytes([a, b, c, d])) / f64::from(u32::MAX);
        let lifetime = self.ttl.mul_f64(0.9 + 0.2 * random);
        i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX)
    }

    fn join(&self, rest: &[u8]) -> Bytes {
        let mut key = BytesMut::with_capacity(self.prefix.len() + rest.len());
        key.put_slice(&self.prefix);
        key.put_slice(rest);
        key.freeze()
    }
}

/// The pattern of `SCAN … MATCH` for all keys with this prefix.
pub(super) fn pattern(start: &[u8]) -> Bytes {
    let mut pattern = BytesMut::with_capacity(start.len() + 8);
    for byte in start {
        // Escapes the special characters of patterns.
        if b"*?[]^-\\".contains(byte) {
            pattern.put_u8(b'\\');
        }
        pattern.put_u8(*byte);
    }
    pattern.put_u8(b'*');
    pattern.freeze()
}

#[cfg(test)]
mod tests {
    use embed_core::{Role, Truncation};

    use super::*;

    #[test]
    fn a_key_leads_back_to_its_variant() {
        let keys = Keyspace::new("embed", Duration::from_secs(1));
        // The last one is longer than 127 bytes, so that its length isn't valid UTF-8.
        for variant in ["m", "", "a:b*c?", &"長".repeat(100)] {
            let namespace = Namespace::named(variant);
            let key = keys.of(&Key::new(&namespace, Role::Query, Truncation::End, "text"));
            assert!(key.starts_with(b"embed:") && key.starts_with(&keys.start(Some(&namespace))));
            assert_eq!(keys.variant(&key), Some(variant));
        }
        for other in [&b"embed:"[..], b"embed:\x02\0\0\0\0", b"embed:\x01\xff\0\0\0m", b"else:\x01\0\0\0\0"] {
            assert_eq!(keys.variant(other), None);
        }
    }

    #[test]
    fn a_pattern_matches_its_prefix_literally() {
        assert_eq!(&pattern(b"e:\x01*?[a-b]^\\\xff")[..], b"e:\x01\\*\\?\\[a\\-b\\]\\^\\\\\xff*");
    }

    #[test]
    fn lifetimes_lie_within_a_tenth() {
        let keys = Keyspace::new("embed", Duration::from_secs(1000));
        let namespace = Namespace::named("m");
        let lifetimes: Vec<i64> = (0..1000)
            .map(|i| keys.lifetime(&Key::new(&namespace, Role::Query, Truncation::End, &i.to_string())))
            .collect();
        assert!(lifetimes.iter().all(|lifetime| (900_000..=1_100_000).contains(lifetime)));
        assert!(lifetimes.iter().min() < Some(&902_000) && lifetimes.iter().max() > Some(&1_098_000));
    }
}
