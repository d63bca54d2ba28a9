//! Where model files and the runtime library lie on disk, and the check that they are whole.
//!
//! Nothing here fetches anything: that is the work of the crate `embed-assets` and of `embed models pull`.
//!
//! ```text
//! <data folder>/
//!   models/<model>/<precision>/manifest.json, model.onnx, tokenizer.json
//!   runtime/manifest.json, libonnxruntime.so.1.32.0
//! ```

mod home;
mod manifest;
mod model_files;

pub use home::DataHome;
pub use manifest::{FileEntry, MANIFEST_FORMAT, MANIFEST_NAME, Manifest, Source, sha256_file};
pub(crate) use model_files::FoundFiles;
pub use model_files::{LENGTHS, MODEL_FILE, ModelFiles, POSITIONS, TOKENIZER_FILE};
