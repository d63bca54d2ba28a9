//! Files of API keys.

#![no_main]

use embed_cli_fuzz::fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::api_keys(bytes));
