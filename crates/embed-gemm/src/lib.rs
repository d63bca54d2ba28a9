#![doc = include_str!("../README.md")]

mod instructions;
mod panels;
mod portable;

pub use instructions::{Gemm, Instructions};
pub use panels::{COLUMNS, DEPTH, pack, padded};
