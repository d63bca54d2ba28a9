//! The product by chosen instructions.

#![expect(unsafe_code, reason = "the instructions of a `Gemm` are available")]

use crate::instructions::{Instructions, Unavailable};
use crate::product::Product;
use crate::single::{self, Vectors};
use crate::strips::{self, Rows, Strips};
use crate::words::Pair;

/// Products by the chosen instructions, which are [available](Instructions::available).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gemm {
    instructions: Instructions,
    vectors: Vectors,
}

impl Gemm {
    /// Products by the fastest instructions that are [available](Instructions::available).
    #[must_use]
    pub fn detect() -> Self {
        Self::of(Instructions::verified()[0])
    }

    /// Products by these instructions.
    ///
    /// # Errors
    ///
    /// If they aren't [available](Instructions::available): what is lacking, and which are.
    pub fn with(instructions: Instructions) -> Result<Self, Unavailable> {
        instructions.verify().map(Self::of)
    }

    fn of(instructions: Instructions) -> Self {
        let wide = matches!(instructions, Instructions::Avx512 | Instructions::Amx);
        Self { instructions, vectors: Vectors::detect(instructions != Instructions::Portable, wide) }
    }

    /// The instructions.
    #[must_use]
    pub fn instructions(self) -> Instructions {
        self.instructions
    }

    /// The products of rows of `depth` bytes with [panels](crate::pack) of that depth: `sums[row, output]`, row after row, for
    /// all outputs of the panels. The sums are exact for bytes from 0 to 127 and weights from -127 to 127, up to a depth of
    /// 133,120; with others they are unspecified, and so is whether they are the same on each path.
    ///
    /// # Panics
    ///
    /// If the depth isn't [padded](crate::padded), or the lengths don't fit each other.
    pub fn sums(self, rows: &[u8], depth: usize, panels: &[i8], sums: &mut [i32]) {
        let product = Product::new(rows, depth, panels, sums);
        // SAFETY: only `detect` and `with` make a `Gemm`, of instructions that were found and verified.
        unsafe { self.instructions.sums(product) }
    }

    /// The products of rows with strips of [`COLUMNS`](crate::COLUMNS) outputs in single precision: `out[row, output]`, in rows
    /// of `stride` values. Each is summed over the inputs in their order, one fused operation an input, so it doesn't depend on
    /// the rows and outputs beside it, or on the instructions.
    ///
    /// # Panics
    ///
    /// If a slice is too short.
    pub fn single(self, rows: Rows<'_>, strips: Strips<'_>, out: &mut [f32], stride: usize) {
        single::product(self.vectors, rows, strips, out, stride);
    }

    /// The products of rows with strips of [`COLUMNS`](crate::COLUMNS) outputs in 16 bits, an input being two numbers:
    /// `sums[row, output]`, in rows of `stride` values. The sums are exact if they and all parts of them fit 32 bits and no
    /// number is -32,768; others are unspecified.
    ///
    /// # Panics
    ///
    /// If a slice is too short.
    pub fn words(self, rows: Rows<'_, Pair>, strips: Strips<'_, Pair>, sums: &mut [i32], stride: usize) {
        let Some(product) = strips::Product::new(rows, strips, sums, stride) else { return };
        // SAFETY: only `detect` and `with` make a `Gemm`, of instructions that were found and verified.
        unsafe { self.instructions.words(product) }
    }
}
