//! Keys of vectors: everything that the numbers depend on, and nothing else.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use embed_core::{Role, Truncation, Variant};
use sha2::{Digest, Sha256};
use twox_hash::XxHash3_64;

/// The version of the format of keys and values. An entry of another version is a miss.
pub(crate) const SCHEMA: u8 = 1;

/// All entries of one [`Variant`]: what [`Tier::clear`](crate::Tier::clear) removes.
///
/// Within a namespace the same text, role and cut have the same vector. Cheap to clone.
#[derive(Clone)]
pub struct Namespace {
    inner: Arc<Inner>,
}

struct Inner {
    variant: String,
    /// XXH3-64 of [`Namespace::prefix`].
    hash: u64,
    /// What checksums begin with, by role and truncation: XXH3-64 of the truncation, seeded with that of the role, seeded
    /// with `hash`.
    seeds: [[u64; Truncation::ALL.len()]; 2],
}

/// The key of one vector: variant, role, how the text was cut, and the SHA-256 of the text.
///
/// A text that wasn't cut has one key, that of [`Truncation::Error`], whatever its request allowed, because the vector is
/// the same. Two keys are equal only if all four parts are. Neither a key nor its `Debug` contains the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    namespace: Namespace,
    role: Role,
    truncation: Truncation,
    text: [u8; 32],
}

impl Namespace {
    /// The namespace of a variant.
    #[must_use]
    pub fn new(variant: &Variant) -> Self {
        Self::named(variant.id())
    }

    /// The namespace of the variant with this id.
    #[must_use]
    pub fn named(variant: impl Into<String>) -> Self {
        let variant = variant.into();
        let hash = XxHash3_64::oneshot(&prefix(&variant));
        let after = |seed, word: &str| XxHash3_64::oneshot_with_seed(seed, word.as_bytes());
        let seeds = [Role::Query, Role::Document].map(|role| {
            Truncation::ALL.map(|truncation| after(after(hash, role.as_str()), truncation.as_str()))
        });
        Self { inner: Arc::new(Inner { variant, hash, seeds }) }
    }

    /// The id of the variant.
    #[must_use]
    pub fn variant(&self) -> &str {
        &self.inner.variant
    }

    /// The bytes that all keys of this namespace, and no others, begin with: the schema (one byte), the length of the
    /// variant's id (four bytes, little-endian), the id.
    #[must_use]
    pub fn prefix(&self) -> Vec<u8> {
        prefix(&self.inner.variant)
    }

    /// The id of the variant in a key's bytes; `None` if they are of another schema, or not a key.
    #[cfg(feature = "redis")]
    pub(crate) fn variant_of(key: &[u8]) -> Option<&str> {
        let (length, rest) = key.strip_prefix(&[SCHEMA])?.split_first_chunk()?;
        let variant = rest.get(..u32::from_le_bytes(*length) as usize)?;
        std::str::from_utf8(variant).ok()
    }
}

fn prefix(variant: &str) -> Vec<u8> {
    let mut bytes = vec![SCHEMA];
    put_prefixed(&mut bytes, variant.as_bytes());
    bytes
}

/// Appends a field with its length before it, so that different lists of fields have different bytes.
fn put_prefixed(bytes: &mut Vec<u8>, field: &[u8]) {
    // The length fits: a field is an id, a word or a digest.
    let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(field);
}

impl Key {
    /// The key of a text that was cut this way; [`Truncation::Error`] for a whole text.
    #[must_use]
    pub fn new(namespace: &Namespace, role: Role, truncation: Truncation, text: &str) -> Self {
        Self { namespace: namespace.clone(), role, truncation, text: Sha256::digest(text.as_bytes()).into() }
    }

    /// The key of the same text, whole.
    #[must_use]
    pub fn whole(&self) -> Self {
        self.cut(Truncation::Error)
    }

    /// The key of the same text, cut this way.
    pub(crate) fn cut(&self, truncation: Truncation) -> Self {
        Self { truncation, ..self.clone() }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.truncation == Truncation::Error
    }

    /// The namespace that it belongs to.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The SHA-256 of the text.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.text
    }

    /// The key as bytes, the same on every machine: [`Namespace::prefix`], then role, truncation and the SHA-256
    /// of the text, each with its length before it (four bytes, little-endian).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.namespace.prefix();
        put_prefixed(&mut bytes, self.role.as_str().as_bytes());
        put_prefixed(&mut bytes, self.truncation.as_str().as_bytes());
        put_prefixed(&mut bytes, &self.text);
        bytes
    }

    /// The seed of the value's checksum, so that a value under another key is invalid.
    pub(crate) fn seed(&self) -> u64 {
        let seed = self.namespace.inner.seeds[self.role as usize][self.truncation as usize];
        XxHash3_64::oneshot_with_seed(seed, &self.text)
    }
}

impl PartialEq for Namespace {
    fn eq(&self, other: &Self) -> bool {
        // Keys of one embedder share the pointer, so most comparisons don't compare strings.
        Arc::ptr_eq(&self.inner, &other.inner) || self.inner.variant == other.inner.variant
    }
}

impl Eq for Namespace {}

impl Hash for Namespace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.inner.hash);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.namespace.hash(state);
        self.role.hash(state);
        self.truncation.hash(state);
        // The digest is as good as random, so a part of it is enough.
        let [a, b, c, d, e, f, g, h, ..] = self.text;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({})", self.variant())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} {} {} ", self.namespace.variant(), self.role, self.truncation)?;
        self.text.iter().take(6).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}
