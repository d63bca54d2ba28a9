#![doc = include_str!("../README.md")]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
mod check;
mod gemm;
mod instructions;
#[cfg(target_arch = "aarch64")]
mod neon;
mod panels;
mod portable;
#[cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    expect(dead_code, reason = "the plain form needs no pointers")
)]
mod product;
mod single;
mod strips;
mod words;

pub use gemm::Gemm;
pub use instructions::{Instructions, Unavailable, UnknownInstructions};
pub use panels::{COLUMNS, DEPTH, pack, padded};
pub use strips::{Rows, Strips};
pub use words::Pair;
