//! The files of one model, found and checked.

use std::path::PathBuf;

use embed_core::{Error, ErrorKind};

use super::{DataHome, Manifest};
use crate::{Precision, Profile};

/// The file name of the graph and its weights.
pub const MODEL_FILE: &str = "model.onnx";

/// The file name of the tokenizer.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// The input of a model that says which token of its text each token is. Texts of any lengths share a run of such a model.
pub const POSITIONS: &str = "position_ids";

/// The input of a model that says how many tokens each text has.
pub const LENGTHS: &str = "lengths";

/// The files of one model, whole and unchanged since they were put there.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ModelFiles {
    /// The graph and its weights.
    pub model: PathBuf,
    /// SHA-256 of the model file, in hexadecimal.
    pub model_sha256: String,
    /// The tokenizer.
    pub tokenizer: PathBuf,
    /// SHA-256 of the tokenizer file, in hexadecimal.
    pub tokenizer_sha256: String,
    /// Size of the graph and its weights.
    pub model_bytes: u64,
}

impl ModelFiles {
    /// Finds a model in the data folder and checks every byte of it against its manifest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`] if it isn't there, [`ErrorKind::Config`] if it isn't whole; both name
    /// the command that fetches it.
    pub fn open(home: &DataHome, profile: &Profile, precision: Precision) -> Result<Self, Error> {
        let found = FoundFiles::find(home, profile, precision)?;
        found.verify(|_| true)?;
        Ok(found.files)
    }
}

/// The files of one model, found and not yet checked.
#[derive(Debug)]
pub(crate) struct FoundFiles {
    pub(crate) files: ModelFiles,
    manifest: Manifest,
    folder: PathBuf,
    mend: String,
}

impl FoundFiles {
    pub(crate) fn find(home: &DataHome, profile: &Profile, precision: Precision) -> Result<Self, Error> {
        let folder = home.model_dir(profile, precision);
        let mend = format!("embed models pull {} --precision {precision}", profile.name);
        let manifest =
            Manifest::read(&folder).map_err(|error| error.with_context("mend", &mend))?.ok_or_else(|| {
                Error::new(
                    ErrorKind::ModelNotFound,
                    format!("{} ({precision}) is not in the data folder; run `{mend}`", profile.name),
                )
                .with_context("folder", folder.display())
            })?;
        let listed = |name: &str| {
            let entry = manifest.file(name).ok_or_else(|| {
                Error::new(ErrorKind::Config, format!("the manifest doesn't list {name}"))
                    .with_context("folder", folder.display())
                    .with_context("mend", &mend)
            })?;
            Ok((folder.join(&entry.name), entry.sha256.clone()))
        };
        let (model, model_sha256) = listed(MODEL_FILE)?;
        let (tokenizer, tokenizer_sha256) = listed(TOKENIZER_FILE)?;
        let model_bytes =
            manifest.files.iter().filter(|file| file.name != TOKENIZER_FILE).map(|file| file.bytes).sum();
        let files = ModelFiles { model, model_sha256, tokenizer, tokenizer_sha256, model_bytes };
        Ok(Self { files, manifest, folder, mend })
    }

    /// Checks every byte of the files whose names are picked.
    pub(crate) fn verify(&self, picked: impl Fn(&str) -> bool) -> Result<(), Error> {
        self.manifest
            .files
            .iter()
            .filter(|file| picked(&file.name))
            .try_for_each(|file| file.verify(&self.folder).map(drop))
            .map_err(|error| error.with_context("mend", &self.mend))
    }
}
