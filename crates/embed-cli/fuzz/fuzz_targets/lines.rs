//! Inputs of lines, and of JSON lines.

#![no_main]

use embed_cli_fuzz::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::lines(bytes));
