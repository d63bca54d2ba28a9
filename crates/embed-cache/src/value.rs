//! Values: vectors encoded as the bytes that tiers store.

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
/// Its checksum also covers the key, so that a tier that mixes up entries or flips a bit causes a miss and never a
/// wrong row.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    bytes: Arc<[u8]>,
}

/// The number format of stored vectors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Element {
    /// Unchanged: vectors are bit-exact.
    #[default]
    F32,
    /// Half the bytes, rounded to 11 significant bits. On 48 vectors of multilingual-e5-small the cosine between a
    /// vector and its stored form is at least 1 - 2.6e-8 (1 - 2.2e-8 on average), and the cosine between two texts
    /// changes by at most 2.5e-5: not bit-exact, but far too little to change search results.
    F16,
}

/// The header fields of a value that a row needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ValueInfo {
    pub(crate) tokens: Option<TokenCount>,
    pub(crate) truncated: bool,
}

/// A value whose bytes have been checked.
pub(crate) struct CheckedValue<'a> {
    pub(crate) facts: ValueInfo,
    element: Element,
    numbers: &'a [u8],
}

/// Why bytes aren't a valid value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Defect {
    /// They were written by another version of this software, or by other software.
    Schema,
    /// Their length isn't that of a vector, or this version doesn't know the number format.
    Layout,
    /// The vector has another dimension.
    Dimension,
    /// They were changed, or belong to another key.
    Checksum,
    /// The vector isn't finite, or is zero.
    Vector,
}

impl Value {
    /// A value from bytes that a tier has read. They aren't checked here but when the vector is decoded.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { bytes: bytes.into() }
    }

    /// The bytes to store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn encode(key: &Key, vector: &[f32], facts: ValueInfo, element: Element) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + vector.len() * element.width());
        let flags = if facts.truncated { CUT } else { 0 } | if facts.tokens.is_some() { TOKENS } else { 0 };
        bytes.extend_from_slice(&[SCHEMA, element.code(), flags, 0]);
        let (used, total) = facts.tokens.map_or((0, 0), |tokens| (tokens.used, tokens.total));
        for number in [vector.len(), used, total] {
            // Dimensions and token counts are far smaller; one that doesn't fit is stored as the largest number.
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

    /// Checks that these are the bytes of a vector under this key. The caller must check the numbers themselves.
    pub(crate) fn open(&self, key: &Key, dimension: usize) -> Result<CheckedValue<'_>, Defect> {
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
        Ok(CheckedValue { facts: ValueInfo { tokens, truncated: header[2] & CUT != 0 }, element, numbers })
    }
}

impl CheckedValue<'_> {
    /// Copies the numbers into a slice of the same dimension.
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

/// The checksum of an encoded value; the bytes in the checksum's place are ignored.
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
    /// The defect in lower case, for labels.
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

/// Shows the length, not the numbers.
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

    /// The figures in the documentation of [`Element::F16`].
    #[test]
    fn halves_keep_the_direction_of_real_vectors() {
        let through_halves = |vector: &[f32]| {
            let key = Key::new(&Namespace::named("variant"), Role::Query, Truncation::Error, "text");
            let facts = ValueInfo { tokens: None, truncated: false };
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
