//! Which instructions there are, and the product by those that were chosen.

use crate::panels::{COLUMNS, DEPTH};
use crate::portable;

/// How products are computed. All give the same sums, to the bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Instructions {
    /// Plain Rust.
    Portable,
}

/// Products by the chosen instructions.
#[derive(Debug, Clone, Copy)]
pub struct Gemm(Instructions);

impl Gemm {
    /// Products by the fastest instructions of this processor.
    #[must_use]
    pub fn detect() -> Self {
        Self(Instructions::Portable)
    }

    /// The instructions.
    #[must_use]
    pub fn instructions(self) -> Instructions {
        self.0
    }

    /// The products of rows of `depth` bytes with [panels](crate::pack) of that depth: `sums[row, output]`, row after row, for
    /// all outputs of the panels. The sums are exact for bytes from 0 to 127.
    ///
    /// # Panics
    ///
    /// If the depth isn't [padded](crate::padded), or the lengths don't fit each other.
    pub fn sums(self, rows: &[u8], depth: usize, panels: &[i8], sums: &mut [i32]) {
        assert!(depth > 0 && depth.is_multiple_of(DEPTH) && rows.len().is_multiple_of(depth));
        assert!(panels.len().is_multiple_of(depth * COLUMNS));
        assert_eq!(rows.len() / depth * (panels.len() / depth), sums.len());
        match self.0 {
            Instructions::Portable => portable::sums(rows, depth, panels, sums),
        }
    }
}
