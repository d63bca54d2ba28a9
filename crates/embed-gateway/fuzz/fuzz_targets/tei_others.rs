//! Bodies of `POST /similarity`, `/tokenize` and `/decode`.

#![no_main]

use std::sync::{Arc, LazyLock};

use embed_gateway::fuzz::Parsers;
use embed_testkit::Scripted;
use libfuzzer_sys::fuzz_target;

static PARSERS: LazyLock<Parsers> =
    LazyLock::new(|| Parsers::new(Arc::new(Scripted::new("m", 16))).expect("a gateway of one model"));

fuzz_target!(|body: &[u8]| PARSERS.tei_others(body));
