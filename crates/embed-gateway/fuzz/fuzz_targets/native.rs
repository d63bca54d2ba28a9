//! Bodies of `POST /route` and `POST /embed/plan`.

#![no_main]

use std::sync::{Arc, LazyLock};

use embed_gateway::fuzz::Parsers;
use embed_testkit::Scripted;
use libfuzzer_sys::fuzz_target;

static PARSERS: LazyLock<Parsers> =
    LazyLock::new(|| Parsers::new(Arc::new(Scripted::new("m", 16))).expect("a gateway of one model"));

fuzz_target!(|body: &[u8]| PARSERS.native(body));
