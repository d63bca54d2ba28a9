//! The files of one model, found and checked.

use std::path::PathBuf;
use std::sync::Arc;

use embed_core::{Error, ErrorKind};

use super::{DataHome, RECIPE, SealedFolder};
use crate::{Precision, Profile};

/// The file name of the graph and its weights.
pub const MODEL_FILE: &str = "model.onnx";

/// The file name of the tokenizer.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// The input of a model with the position of each token in its text. Texts of any lengths can share a run of such a model.
pub const POSITIONS: &str = "position_ids";

/// The input of a model with the number of tokens of each text.
pub const LENGTHS: &str = "lengths";

/// The version of the model format of this project: names, shapes and meanings of inputs and outputs.
pub const MODEL_FORMAT: &str = "2";

/// The metadata key with the [`MODEL_FORMAT`] of a model of this project.
pub const FORMAT_KEY: &str = "embed.format";

/// The files of one model, complete and unchanged since they were installed.
///
/// While this or a clone of it lives, the files stay where they are, even if another version is pulled or imported.
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
    sealed: Arc<SealedFolder>,
    fix: Arc<str>,
}

impl ModelFiles {
    /// Finds a model in the data folder and checks every byte of it against its manifest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`] if it isn't there, [`ErrorKind::Config`] if it is damaged or not of this version; both
    /// name the command that fetches it.
    pub fn open(home: &DataHome, profile: &Profile, precision: Precision) -> Result<Self, Error> {
        let files = Self::find(home, profile, precision)?;
        files.verify(|_| true)?;
        Ok(files)
    }

    /// As [`open`](Self::open), but doesn't look at the bytes.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), except for damaged files.
    pub fn find(home: &DataHome, profile: &Profile, precision: Precision) -> Result<Self, Error> {
        let slot = home.model_slot(profile, precision);
        let fix = format!("embed models pull {} --precision {precision}", profile.name);
        let sealed = slot.open().map_err(|error| error.with_context("fix", &fix))?.ok_or_else(|| {
            Error::new(
                ErrorKind::ModelNotFound,
                format!("{} ({precision}) is not in the data folder; run `{fix}`", profile.name),
            )
            .with_context("folder", slot.root().display())
        })?;
        let manifest = sealed.manifest();
        let broken = |what: String| {
            Error::new(ErrorKind::Config, what).with_context("folder", sealed.folder().display())
        };
        if (manifest.name.as_str(), manifest.version.as_str()) != (profile.name, precision.as_str()) {
            let (name, version) = (manifest.name.escape_debug(), manifest.version.escape_debug());
            let what = format!("the folder of {} ({precision}) holds {name} ({version})", profile.name);
            return Err(broken(what).with_context("fix", fix));
        }
        if manifest.recipe > RECIPE {
            let what = format!("{} ({precision}) was made by a newer version of this program", profile.name);
            return Err(broken(what)
                .with_context("recipe", manifest.recipe)
                .with_context("fix", format!("update this program, or make the model anew with `{fix}`")));
        }
        let listed = |name: &str| {
            let entry = manifest.file(name).ok_or_else(|| {
                broken(format!("the manifest doesn't list {name}")).with_context("fix", &fix)
            })?;
            Ok((sealed.folder().join(&entry.name), entry.sha256.clone()))
        };
        let (model, model_sha256) = listed(MODEL_FILE)?;
        let (tokenizer, tokenizer_sha256) = listed(TOKENIZER_FILE)?;
        let model_bytes =
            manifest.files.iter().filter(|file| file.name != TOKENIZER_FILE).map(|file| file.bytes).sum();
        let (sealed, fix) = (Arc::new(sealed), fix.into());
        Ok(Self { model, model_sha256, tokenizer, tokenizer_sha256, model_bytes, sealed, fix })
    }

    /// The folder, with its manifest.
    #[must_use]
    pub fn sealed(&self) -> &SealedFolder {
        &self.sealed
    }

    /// Checks every byte of the files whose names `picked` accepts.
    pub(crate) fn verify(&self, picked: impl Fn(&str) -> bool) -> Result<(), Error> {
        self.sealed.verify(picked).map_err(|error| error.with_context("fix", &self.fix))
    }

    /// Checks that the files are still those that were verified, before they are opened again. Their bytes are read again
    /// only if their metadata changed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if one isn't what the manifest says.
    pub fn verify_again(&self) -> Result<(), Error> {
        self.sealed.verify_again().map_err(|error| error.with_context("fix", &self.fix))
    }
}
