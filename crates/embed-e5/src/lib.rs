//! The E5 family of embedding models inside the process.

pub mod assets;

mod profile;

pub use profile::{Precision, Profile, prefix};
