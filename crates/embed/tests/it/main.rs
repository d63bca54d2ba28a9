//! What the crate adds to those under it, against the real models.

#![cfg(feature = "encoder")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod absent;
mod documents;
#[cfg(feature = "pull")]
mod fetch;
mod real;
#[cfg(feature = "settings")]
mod stack;

use embed::{ModelBuilder, Precision, Result};

/// A model that nothing is fetched for.
fn offline(name: &str) -> ModelBuilder {
    let model = embed::model(name);
    #[cfg(feature = "pull")]
    let model = model.pull(embed::Pull::Never);
    model
}

/// What loading a model gives, or nothing, with a message, if it isn't on this machine.
fn on_this_machine<T>(name: &str, loaded: Result<T>) -> Option<T> {
    embed_testkit::require(&format!("{name} ({})", Precision::Int8), loaded)
}
