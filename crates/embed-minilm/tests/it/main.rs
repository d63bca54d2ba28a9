//! all-MiniLM-L6-v2 with its real weights, in both precisions.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod contract;
mod reference;

use std::sync::{Arc, OnceLock};

use embed_core::Error;
use embed_minilm::{MiniLmEmbedder, Precision, all_minilm};

/// The least cosine of int8 to the reference; `embed-assets/data/README.md` has what was measured.
const LEAST_IN_INT8: f32 = 0.995;

/// The model in a precision, loaded once; `None`, with a message, if it isn't on this machine.
fn model(precision: Precision) -> Option<Arc<MiniLmEmbedder>> {
    static MODELS: [OnceLock<Result<Arc<MiniLmEmbedder>, Error>>; Precision::ALL.len()] =
        [const { OnceLock::new() }; Precision::ALL.len()];
    let loaded = MODELS[precision as usize]
        .get_or_init(|| MiniLmEmbedder::load_blocking(all_minilm().with_precision(precision)).map(Arc::new));
    embed_testkit::require(&format!("all-minilm-l6-v2 ({precision})"), loaded.clone())
}
