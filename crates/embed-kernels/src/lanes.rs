//! The sizes that the kernels take.

/// Every row is a whole number of so many values: a vector of AVX-512, two of AVX2, four of NEON.
pub const LANES: usize = 16;

/// A length that is no multiple of [`LANES`], or doesn't fit the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {length} values, which doesn't fit the others or is no multiple of {LANES}")]
pub struct UnfitLength {
    /// What was measured.
    pub what: &'static str,
    /// Its length.
    pub length: usize,
}

/// Constants that must be so many, and whole lanes.
pub(crate) fn exactly(what: &'static str, values: &[f32], length: usize) -> Result<Vec<f32>, UnfitLength> {
    if values.len() != length || length == 0 || !length.is_multiple_of(LANES) {
        return Err(UnfitLength { what, length: values.len() });
    }
    Ok(values.to_vec())
}
