//! Model files and the runtime library on disk, and the check that they are intact.
//!
//! Nothing is fetched here: that is what the crate `embed-assets` and `embed models pull` do.
//!
//! ```text
//! <data folder>/
//!   models/<model>/<precision>/current.json                     names the version in use
//!   models/<model>/<precision>/<version>/manifest.json, profile.json, model.onnx, tokenizer.json, …
//!   runtime/current.json
//!   runtime/<version>/manifest.json, libonnxruntime.so.1.32.0
//! ```
//!
//! A version is a folder that is named after its content and never changes; see [`Slot`].

mod home;
mod manifest;
mod model_files;
mod profile_file;
mod sealed;
mod slot;

pub use home::DataHome;
pub use manifest::{
    FileEntry, MANIFEST_FORMAT, MANIFEST_NAME, Manifest, RECIPE, Source, sha256_file, version_of,
};
pub use model_files::{FORMAT_KEY, LENGTHS, MODEL_FILE, MODEL_FORMAT, ModelFiles, POSITIONS, TOKENIZER_FILE};
pub use profile_file::{PROFILE_FILE, PROFILE_FORMAT, ProfileFile};
pub use sealed::SealedFolder;
pub use slot::{POINTER_FORMAT, POINTER_NAME, Pointer, Slot};
