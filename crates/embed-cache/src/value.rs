//! A vector as the bytes that tiers store.

use std::fmt;
use std::sync::Arc;

use embed_core::TokenCount;
use half::f16;
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::key::{Key, SCHEMA};

/// Bytes before the numbers.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 1 | schema |
/// | 1 | 1 | element: 1 = f32, 2 = f16 |
/// | 2 | 1 | flags: 1 = the text was cut, 2 = its tokens are known |
/// | 3 | 1 | zero |
/// | 4 | 4 | dimension |
/// | 8 | 4 | tokens in the vector |
/// | 12 | 4 | tokens of the text |
/// | 16 | 8 | checksum: XXH3-64 of bytes 0 to 15, seeded with that of the numbers, seeded with that of the key |
///
/// All little-endian, as the numbers after it are.
const HEADER: usize = 24;
const CHECKED: usize = 16;

const CUT: u8 = 1;
const TOKENS: u8 = 2;

/// One stored vector, as opaque bytes: what a [`Tier`](crate::Tier) keeps. Cheap to clone.
///
/// It has a checksum that covers its key too, so that a tier that mixes entries up or flips a bit causes a miss
/// and never a wrong row.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    bytes: Arc<[u8]>,
}

/// As what the numbers are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Element {
    /// As they are: what comes out is equal to the bit.
    #[default]
    F32,
    /// Half the bytes, rounded to 11 significant bits. On 48 vectors of multilingual-e5-small the cosine between a
    /// vector and what comes out is at least 1 - 2.6e-8 (1 - 2.2e-8 on average), and the cosine between two texts
    /// moves by at most 2.5e-5: far too little to change which texts are found, and not equal to the bit.
    F16,
}

/// What a value says beside its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) tokens: Option<TokenCount>,
    pub(crate) truncated: bool,
}

/// A value whose bytes were checked.
pub(crate) struct Opened<'a> {
    pub(crate) facts: Facts,
    element: Element,
    numbers: &'a [u8],
}

/// Why bytes are no value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Defect {
    /// They are of another version of this software, or of another one.
    Schema,
    /// They are no whole number of numbers, or of a kind that this version doesn't know.
    Layout,
    /// They are a vector of another width.
    Dimension,
    /// They were changed, or belong to another key.
    Checksum,
    /// The vector isn't one: not finite, or all zero.
    Vector,
}

impl Value {
    /// Bytes that a tier has read. They are checked when the vector is taken out, not here.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { bytes: bytes.into() }
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn encode(key: &Key, vector: &[f32], facts: Facts, element: Element) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + vector.len() * element.width());
        let flags = if facts.truncated { CUT } else { 0 } | if facts.tokens.is_some() { TOKENS } else { 0 };
        bytes.extend_from_slice(&[SCHEMA, element.code(), flags, 0]);
        let (used, total) = facts.tokens.map_or((0, 0), |tokens| (tokens.used, tokens.total));
        for number in [vector.len(), used, total] {
            // Widths and token counts are far below; one that isn't is stored as the largest there is.
            bytes.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        bytes.extend_from_slice(&[0; HEADER - CHECKED]);
        match element {
            Element::F32 => bytes.extend(vector.iter().flat_map(|number| number.to_le_bytes())),
            Element::F16 => {
                let mut halves = vec![f16::ZERO; vector.len()];
                halves.convert_from_f32_slice(vector);
                bytes.extend(halves.iter().flat_map(|number| number.to_le_bytes()));
            }
        }
        let sum = checksum(key, &bytes);
        bytes[CHECKED..HEADER].copy_from_slice(&sum.to_le_bytes());
        Self { bytes: bytes.into() }
    }

    /// What it says, if these are the bytes of a vector under this key. Whether it is one, who takes the numbers
    /// out has to check.
    pub(crate) fn open(&self, key: &Key, dimension: usize) -> Result<Opened<'_>, Defect> {
        let bytes = &*self.bytes;
        if bytes.first() != Some(&SCHEMA) {
            return Err(Defect::Schema);
        }
        let Some((header, numbers)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(Defect::Layout);
        };
        let element = Element::of_code(header[1]).ok_or(Defect::Layout)?;
        let field =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if field(4) as usize != dimension {
            return Err(Defect::Dimension);
        }
        if numbers.len() != dimension * element.width() {
            return Err(Defect::Layout);
        }
        if header[CHECKED..] != checksum(key, bytes).to_le_bytes() {
            return Err(Defect::Checksum);
        }
        let tokens = (header[2] & TOKENS != 0)
            .then(|| TokenCount { used: field(8) as usize, total: field(12) as usize });
        Ok(Opened { facts: Facts { tokens, truncated: header[2] & CUT != 0 }, element, numbers })
    }
}

impl Opened<'_> {
    /// Copies the numbers into a slice of their width.
    pub(crate) fn copy_to(&self, vector: &mut [f32]) {
        match self.element {
            Element::F32 => {
                for (number, bytes) in vector.iter_mut().zip(self.numbers.as_chunks().0) {
                    *number = f32::from_le_bytes(*bytes);
                }
            }
            Element::F16 => {
                for (number, bytes) in vector.iter_mut().zip(self.numbers.as_chunks().0) {
                    *number = f16::from_le_bytes(*bytes).to_f32();
                }
            }
        }
    }
}

/// The checksum of an encoded value, whatever stands in its place for it.
fn checksum(key: &Key, bytes: &[u8]) -> u64 {
    let numbers = XxHash3_64::oneshot_with_seed(key.seed(), &bytes[HEADER..]);
    XxHash3_64::oneshot_with_seed(numbers, &bytes[..CHECKED])
}

impl Element {
    fn width(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::F32 => 1,
            Self::F16 => 2,
        }
    }

    fn of_code(code: u8) -> Option<Self> {
        [Self::F32, Self::F16].into_iter().find(|element| element.code() == code)
    }
}

impl Defect {
    /// The defect as one lower-case word, for labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Layout => "layout",
            Self::Dimension => "dimension",
            Self::Checksum => "checksum",
            Self::Vector => "vector",
        }
    }
}

/// The length, not the numbers.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("bytes", &self.bytes.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use embed_core::vector::{dot, norm};
    use embed_core::{Role, Truncation};
    use embed_testkit::data::e5_small_reference;

    use super::*;
    use crate::Namespace;

    /// What the documentation of [`Element::F16`] says of it.
    #[test]
    fn halves_keep_the_direction_of_real_vectors() {
        let through_halves = |vector: &[f32]| {
            let key = Key::new(&Namespace::named("variant"), Role::Query, Truncation::Error, "text");
            let facts = Facts { tokens: None, truncated: false };
            let value = Value::encode(&key, vector, facts, Element::F16);
            let mut out = vec![0.0; vector.len()];
            value.open(&key, vector.len()).ok().unwrap().copy_to(&mut out);
            out
        };
        let cosine = |a: &[f32], b: &[f32]| dot(a, b) / (norm(a) * norm(b));
        let rows: Vec<_> = e5_small_reference().into_iter().map(|row| row.embedding).collect();
        let halves: Vec<_> = rows.iter().map(|row| through_halves(row)).collect();
        let losses: Vec<_> = rows.iter().zip(&halves).map(|(row, half)| 1.0 - cosine(row, half)).collect();
        let most = losses.iter().copied().fold(0.0, f64::max);
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        let mut moved = 0.0_f64;
        for (i, a) in rows.iter().enumerate() {
            for (j, b) in rows.iter().enumerate() {
                moved = moved.max((cosine(a, b) - cosine(&halves[i], &halves[j])).abs());
            }
        }
        println!(
            "{} vectors: loss of cosine at most {most:e}, mean {mean:e}; cosines moved by {moved:e}",
            rows.len()
        );
        assert!(most < 2.6e-8 && mean < 2.2e-8 && moved < 2.5e-5, "{most} {mean} {moved}");
    }
}
