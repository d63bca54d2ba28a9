//! The real model, in both precisions: one binary, so that the models are loaded once.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod contract;
mod faults;
mod five_lines;
mod forms;
mod independence;
mod lifecycle;
mod reference;
mod retrieval;

use std::sync::{Arc, OnceLock};

use embed_core::Error;
use embed_e5::assets::DataHome;
use embed_e5::{E5Config, E5Embedder, Precision};

/// The model in a precision, loaded once; `None` if it isn't on this machine, which is said aloud.
fn model(precision: Precision) -> Option<Arc<E5Embedder>> {
    static MODELS: [OnceLock<Result<Arc<E5Embedder>, Error>>; Precision::ALL.len()] =
        [const { OnceLock::new() }; Precision::ALL.len()];
    let loaded = MODELS[precision as usize].get_or_init(|| {
        E5Embedder::load_blocking(E5Config::default().with_precision(precision)).map(Arc::new)
    });
    embed_testkit::require(&format!("multilingual-e5-small ({precision})"), loaded.clone())
}

/// The data folder with the model in int8.
fn home() -> Option<DataHome> {
    model(Precision::Int8).map(|_| DataHome::from_env().unwrap())
}
