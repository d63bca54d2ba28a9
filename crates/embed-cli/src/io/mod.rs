//! Texts in, rows out: inputs, outputs, the pipeline between them, and its progress.

pub(crate) mod download_progress;
pub(crate) mod fields;
pub(crate) mod format;
pub(crate) mod input;
pub(crate) mod lines;
pub(crate) mod output;
pub(crate) mod pipeline;
pub(crate) mod row_progress;
pub(crate) mod rows;
#[cfg(feature = "parquet")]
pub(crate) mod tables;
