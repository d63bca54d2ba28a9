//! Inputs of lines, and of JSON lines.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| embed_cli_fuzz::lines(bytes));
