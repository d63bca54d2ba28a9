#![doc = include_str!("../README.md")]

mod answer;
mod engine;
mod failure;
mod options;
mod texts;
mod wait;

/// The compiled half of the package `embed`, whose Python half documents it.
#[pyo3::pymodule]
mod _embed {
    #[pymodule_export]
    use crate::engine::{Engine, similarity};

    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
