//! Rows and weights of any shape.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../src/product.rs"]
mod product;

fuzz_target!(|bytes: &[u8]| product::holds(bytes));
