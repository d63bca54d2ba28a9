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
    /// Half the bytes, rounded to 11 significant bits.
    F16,
}

/// What a value says beside its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) tokens: Option<TokenCount>,
    pub(crate) truncated: bool,
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

    /// Takes the vector out into `vector`, in place of what is there.
    pub(crate) fn decode(&self, key: &Key, dimension: usize, vector: &mut Vec<f32>) -> Result<Facts, Defect> {
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
        vector.clear();
        match element {
            Element::F32 => {
                vector.extend(numbers.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            Element::F16 => {
                vector.extend(numbers.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()));
            }
        }
        embed_core::vector::check(vector, dimension).map_err(|_| Defect::Vector)?;
        let tokens = (header[2] & TOKENS != 0)
            .then(|| TokenCount { used: field(8) as usize, total: field(12) as usize });
        Ok(Facts { tokens, truncated: header[2] & CUT != 0 })
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
