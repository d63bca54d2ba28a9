//! Files of API keys.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| embed_cli_fuzz::keys(bytes));
