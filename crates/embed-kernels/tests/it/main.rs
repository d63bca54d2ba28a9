//! The kernels against the formulas in double precision, and the promise that a row depends on its own text alone.

// Lint settings let tests unwrap, but not what they share.
#![allow(clippy::unwrap_used)]

mod exact;
mod layer;
mod small;
