//! The lengths that the kernels accept.

/// Every row has a multiple of this many values: one vector of AVX-512, two of AVX2, four of NEON.
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

/// Checks that there are `length` constants, a multiple of [`LANES`].
pub(crate) fn exactly(what: &'static str, values: &[f32], length: usize) -> Result<Vec<f32>, UnfitLength> {
    if values.len() != length || length == 0 || !length.is_multiple_of(LANES) {
        return Err(UnfitLength { what, length: values.len() });
    }
    Ok(values.to_vec())
}
