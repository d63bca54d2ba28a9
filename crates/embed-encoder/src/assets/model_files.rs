//! The files of one model, found and checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use embed_core::{Error, ErrorKind};

use super::{DataHome, PROFILE_FILE, ProfileFile, RECIPE, SealedFolder, Slot};
use crate::{Precision, Profile};

/// The file name of the graph and its weights.
pub const MODEL_FILE: &str = "model.onnx";

/// The file name of the tokenizer.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// The input of a model with the position of each token in its text. Texts of any lengths can share a run of such a model.
pub const POSITIONS: &str = "position_ids";

/// The input of a model with the number of tokens of each text.
pub const LENGTHS: &str = "lengths";

/// The version of the model format of this project: names, shapes and meanings of inputs and outputs, and how the operators
/// compute. Raise it, and [`RECIPE`], also when operators give other vectors for the same weights: it is in the file, so in
/// its digest and in the variant, and no cache takes the old vectors for new ones.
pub const MODEL_FORMAT: &str = "3";

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
    opened: Arc<Opened>,
}

/// The folder of a model and what it says of itself.
#[derive(Debug)]
struct Opened {
    sealed: SealedFolder,
    /// `None` for folders of earlier releases, which have no profile.
    profile: Option<&'static Profile>,
    precision: Precision,
    fix: String,
}

impl ModelFiles {
    /// Finds a model in the data folder and checks every byte of it against its manifest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`] if it isn't there, [`ErrorKind::Config`] if it is damaged, not of this version or was
    /// made for another profile; all name the command that fetches it.
    pub fn open(home: &DataHome, profile: &Profile, precision: Precision) -> Result<Self, Error> {
        let files = Self::find(home, profile, precision)?;
        files.verify(|_| true)?;
        Ok(files)
    }

    /// As [`open`](Self::open), but doesn't look at the bytes, except for those of the profile.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), except for damaged files.
    pub fn find(home: &DataHome, profile: &Profile, precision: Precision) -> Result<Self, Error> {
        Self::called(home, profile.name, precision)?.made_for(profile, precision)
    }

    /// Finds the model of this name in the data folder, whatever it is.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub fn named(home: &DataHome, name: &str, precision: Precision) -> Result<Self, Error> {
        if !DataHome::is_model_name(name) {
            return Err(Error::new(
                ErrorKind::ModelNotFound,
                format!("{name:?} can't be the name of a model"),
            ));
        }
        Self::called(home, name, precision)
    }

    fn called(home: &DataHome, name: &str, precision: Precision) -> Result<Self, Error> {
        let slot = home.named_slot(name, precision);
        let fix = format!("embed models pull {name} --precision {precision}");
        let sealed = slot.open().map_err(|error| error.with_context("fix", &fix))?.ok_or_else(|| {
            Error::new(
                ErrorKind::ModelNotFound,
                format!("{name} ({precision}) is not in the data folder; run `{fix}`"),
            )
            .with_context("folder", slot.root().display())
        })?;
        let manifest = sealed.manifest();
        if (manifest.name.as_str(), manifest.version.as_str()) != (name, precision.as_str()) {
            let (other, version) = (manifest.name.escape_debug(), manifest.version.escape_debug());
            let what = format!("the folder of {name} ({precision}) holds {other} ({version})");
            let error = Error::new(ErrorKind::Config, what);
            return Err(error.with_context("folder", sealed.folder().display()).with_context("fix", fix));
        }
        Self::of(sealed, fix)
    }

    /// Finds the model in a folder, which is one of a [`Slot`] or one of its versions. Its profile says what it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`] if there is no manifest, [`ErrorKind::Config`] if it is damaged or not of this version.
    pub fn in_folder(folder: &Path) -> Result<Self, Error> {
        let fix = "pull the model, or copy its folder again";
        let sealed =
            Slot::new(folder).open().map_err(|error| error.with_context("fix", fix))?.ok_or_else(|| {
                Error::new(ErrorKind::ModelNotFound, "there is no model in the folder; it has no manifest")
                    .with_context("folder", folder.display())
                    .with_context("fix", fix)
            })?;
        Self::of(sealed, fix.to_owned())
    }

    /// Refuses files that were made for another profile or precision.
    pub(crate) fn made_for(self, profile: &Profile, precision: Precision) -> Result<Self, Error> {
        let other_part = if self.opened.precision == precision {
            self.opened.profile.and_then(|sealed| profile.other_part(sealed, precision))
        } else {
            Some("precision")
        };
        match other_part {
            None => Ok(self),
            Some(part) => {
                let name = profile.name;
                let what =
                    format!("the folder of {name} ({precision}) was made for a model with another {part}");
                let error = Error::new(ErrorKind::Config, what);
                Err(error
                    .with_context("folder", self.opened.sealed.folder().display())
                    .with_context("fix", &self.opened.fix))
            }
        }
    }

    fn of(sealed: SealedFolder, fix: String) -> Result<Self, Error> {
        let manifest = sealed.manifest();
        let broken = |what: String| {
            Error::new(ErrorKind::Config, what).with_context("folder", sealed.folder().display())
        };
        let (name, precision) = (manifest.name.escape_debug(), manifest.version.escape_debug());
        if manifest.recipe > RECIPE {
            let what = format!("{name} ({precision}) was made by a newer version of this program");
            return Err(broken(what)
                .with_context("recipe", manifest.recipe)
                .with_context("fix", format!("update this program, or make the model anew: {fix}")));
        }
        let listed = |name: &str| {
            let entry = manifest.file(name).ok_or_else(|| {
                broken(format!("the manifest doesn't list {name}")).with_context("fix", &fix)
            })?;
            Ok((sealed.folder().join(&entry.name), entry.sha256.clone()))
        };
        let (model, model_sha256) = listed(MODEL_FILE)?;
        let (tokenizer, tokenizer_sha256) = listed(TOKENIZER_FILE)?;
        let beside = [TOKENIZER_FILE, PROFILE_FILE];
        let weights = manifest.files.iter().filter(|file| !beside.contains(&file.name.as_str()));
        let model_bytes = weights.map(|file| file.bytes).sum();
        let (profile, precision) = sealed_profile(&sealed)
            .and_then(|profile| Ok((profile, manifest.version.parse()?)))
            .map_err(|error| error.with_context("fix", &fix))?;
        let opened = Arc::new(Opened { sealed, profile, precision, fix });
        Ok(Self { model, model_sha256, tokenizer, tokenizer_sha256, model_bytes, opened })
    }

    /// What the model is, as its folder says it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a folder of an earlier release whose name isn't that of a [built-in](Profile::all) model.
    pub fn profile(&self) -> Result<&'static Profile, Error> {
        self.opened.profile.map_or_else(
            || {
                let name = &self.opened.sealed.manifest().name;
                Profile::all().iter().find(|profile| profile.name == name.as_str()).ok_or_else(|| {
                    Error::new(ErrorKind::Config, format!("the folder doesn't say what {name:?} is"))
                        .with_context("folder", self.opened.sealed.folder().display())
                        .with_context("fix", &self.opened.fix)
                })
            },
            Ok,
        )
    }

    /// The precision that the files were made for.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.opened.precision
    }

    /// The folder, with its manifest.
    #[must_use]
    pub fn sealed(&self) -> &SealedFolder {
        &self.opened.sealed
    }

    /// Checks every byte of the files whose names `picked` accepts.
    pub(crate) fn verify(&self, picked: impl Fn(&str) -> bool) -> Result<(), Error> {
        self.opened.sealed.verify(picked).map_err(|error| error.with_context("fix", &self.opened.fix))
    }

    /// Checks that the files are still those that were verified, before they are opened again. Their bytes are read again
    /// only if their metadata changed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if one isn't what the manifest says.
    pub fn verify_again(&self) -> Result<(), Error> {
        self.opened.sealed.verify_again().map_err(|error| error.with_context("fix", &self.opened.fix))
    }
}

/// The profile in a folder, read from the bytes that the manifest knows.
fn sealed_profile(sealed: &SealedFolder) -> Result<Option<&'static Profile>, Error> {
    let Some(entry) = sealed.manifest().file(PROFILE_FILE) else {
        return Ok(None);
    };
    let path = entry.verify(sealed.folder())?;
    let read = || {
        let text = fs::read(&path).map_err(|error| {
            Error::new(ErrorKind::Config, "the model's profile can't be read").with_source(error)
        })?;
        let profile = ProfileFile::parse(&text)?.profile()?;
        if profile.name != sealed.manifest().name {
            return Err(Error::new(
                ErrorKind::Config,
                "the model's profile and its manifest name two models",
            ));
        }
        Ok(profile)
    };
    read().map(Some).map_err(|error: Error| error.with_context("file", path.display()))
}
