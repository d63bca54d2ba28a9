//! What can be in the data folder, what is there, and whether it is whole.

use std::fmt;
use std::path::{Path, PathBuf};

use embed_core::{Error, ErrorKind};
use embed_encoder::assets::{
    DataHome, MANIFEST_NAME, MODEL_FILE, Manifest, ModelFiles, Pointer, ProfileFile, RECIPE, SealedFolder,
    Slot, Source, TOKENIZER_FILE,
};
use embed_encoder::{Precision, Profile, Shape};

use crate::Progress;
use crate::progress::blocking;
use crate::wheel::{Member, RUNTIME_NAME, RUNTIME_VERSION, model_pin, platform, runtime_pin};

/// One folder of the data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asset {
    /// A model in a precision.
    Model {
        /// Which one.
        profile: &'static Profile,
        /// The precision.
        precision: Precision,
    },
    /// The ONNX Runtime library.
    Runtime,
}

/// An asset and what is there of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Listed {
    /// Which one.
    pub asset: Asset,
    /// Where it lies or would lie.
    pub folder: PathBuf,
    /// Which version is in use, and which one it is possible to go back to.
    pub pointer: Option<Pointer>,
    /// What is there.
    pub state: AssetState,
}

/// What is there of an asset.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AssetState {
    /// Nothing.
    Absent,
    /// All files, in their sizes. Their bytes are not looked at.
    Present {
        /// Where they came from.
        source: Source,
        /// Their sizes together.
        bytes: u64,
    },
    /// Something that can't be used. The error says what.
    Damaged(Error),
}

/// A file and whether it is what its manifest says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Verified {
    /// What it belongs to.
    pub asset: Asset,
    /// Its name in the folder, or the manifest's name if the folder as a whole is damaged.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Nothing, or what is wrong.
    pub outcome: Result<(), Error>,
}

impl Verified {
    /// The outcome of a further check of an asset, which the caller made.
    #[must_use]
    pub fn new(asset: Asset, check: &str, outcome: Result<(), Error>) -> Self {
        Self { asset, file: check.to_owned(), bytes: 0, outcome }
    }
}

impl Asset {
    /// Everything that this version knows.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let models = Profile::all().iter().flat_map(|profile| {
            Precision::ALL.iter().map(move |&precision| Self::Model { profile, precision })
        });
        models.chain([Self::Runtime]).collect()
    }

    /// Everything that this version knows, and the models of the data folder that aren't built in.
    #[must_use]
    pub fn all_in(home: &DataHome) -> Vec<Self> {
        let mut all = Self::all();
        let library = all.pop();
        let folders = |path: &Path| {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            let mut names: Vec<_> =
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
            names.sort_unstable();
            names
        };
        let models = home.models_dir();
        let is_custom = |name: &String| Profile::all().iter().all(|profile| profile.name != name);
        for name in folders(&models).into_iter().filter(is_custom) {
            let precisions = folders(&models.join(&name));
            all.extend(precisions.iter().filter_map(|word| {
                let precision = word.parse().ok()?;
                Some(Self::Model { profile: profile_in(home, &name, precision)?, precision })
            }));
        }
        all.extend(library);
        all
    }

    /// A model by its name: a [built-in](Profile::by_name) one, or one of the data folder.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`] if it is neither, [`ErrorKind::Config`] if it is damaged.
    pub fn named(home: &DataHome, name: &str, precision: Precision) -> Result<Self, Error> {
        let profile = Profile::by_name(name).or_else(|unknown| {
            let there = Self::all_in(home).into_iter().filter_map(|asset| match asset {
                Self::Model { profile, precision } if profile.name == name => Some((profile, precision)),
                _ => None,
            });
            // What one precision is, another one would be.
            let found = there.min_by_key(|(_, other)| *other != precision);
            found.map(|(profile, _)| profile).ok_or(unknown)
        })?;
        Ok(Self::Model { profile, precision })
    }

    /// The name of the model, or `onnxruntime`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Model { profile, .. } => profile.name,
            Self::Runtime => RUNTIME_NAME,
        }
    }

    /// The precision of the model, or the version of the library.
    #[must_use]
    pub fn version(&self) -> &'static str {
        match self {
            Self::Model { precision, .. } => precision.as_str(),
            Self::Runtime => RUNTIME_VERSION,
        }
    }

    /// Where its versions lie.
    #[must_use]
    pub fn slot(&self, home: &DataHome) -> Slot {
        match self {
            Self::Model { profile, precision } => home.model_slot(profile, *precision),
            Self::Runtime => home.runtime_slot(),
        }
    }

    /// Where the version in use lies.
    #[must_use]
    pub fn folder(&self, home: &DataHome) -> PathBuf {
        self.slot(home).folder()
    }

    /// The name of the lock. All precisions of a model share one lock, because they share the files that are fetched.
    pub(crate) fn lock_name(&self) -> &'static str {
        match self {
            Self::Model { profile, .. } => profile.name,
            Self::Runtime => "runtime",
        }
    }

    /// The files that it can't do without.
    fn needed(&self) -> Vec<&'static str> {
        match self {
            Self::Model { .. } => vec![MODEL_FILE, TOKENIZER_FILE],
            Self::Runtime => runtime_pin(&platform())
                .map_or_else(|_| Vec::new(), |pin| pin.members.iter().map(Member::name).collect()),
        }
    }

    /// Checks that a manifest is one of this asset and lists what is needed.
    pub(crate) fn check(&self, manifest: &Manifest) -> Result<(), Error> {
        let broken = |what: String| Error::new(ErrorKind::Config, format!("the manifest of {self} {what}"));
        // A library that is newer than the one that would be fetched is fine.
        let other_version = matches!(self, Self::Model { .. }) && manifest.version != self.version();
        if manifest.name != self.name() || other_version {
            return Err(broken(format!(
                "is that of {} {}",
                manifest.name.escape_debug(),
                manifest.version.escape_debug()
            )));
        }
        if manifest.recipe > RECIPE && matches!(self, Self::Model { .. }) {
            return Err(broken("is of a newer version of this program; update it".to_owned()));
        }
        match self.needed().into_iter().find(|name| manifest.file(name).is_none()) {
            Some(name) if matches!(self, Self::Model { .. }) => Err(broken(format!("doesn't list {name}"))),
            None | Some(_) if manifest.files.is_empty() => Err(broken("lists no file".to_owned())),
            None | Some(_) => Ok(()),
        }
    }

    /// Whether a pull of today would make the same thing from the same raw files.
    pub(crate) fn is_current(&self, manifest: &Manifest) -> bool {
        if matches!(self, Self::Model { .. }) && manifest.recipe != RECIPE {
            return false;
        }
        match (self, &manifest.source) {
            (Self::Model { profile, .. }, Source::Hub { repository, revision }) => {
                (repository.as_str(), revision.as_str()) == (profile.repository, profile.revision)
            }
            (Self::Model { profile, .. }, Source::Folder { sha256 }) => {
                profile.repository.is_empty() && sha256 == profile.revision
            }
            (Self::Model { profile, .. }, Source::Wheel { sha256, .. }) => {
                model_pin(profile).is_ok_and(|pin| pin.sha256 == sha256)
            }
            (Self::Runtime, Source::Wheel { sha256, .. }) => {
                runtime_pin(&platform()).is_ok_and(|pin| pin.sha256 == sha256)
            }
            _ => false,
        }
    }

    /// The version in use, if there is one. The search is the embedder's, so that both find the same version.
    pub(crate) fn open(&self, home: &DataHome) -> Result<Option<SealedFolder>, Error> {
        let slot = self.slot(home);
        let Some(sealed) = slot.open()? else {
            // A slot with files and without a manifest was left incomplete by an earlier release.
            return match std::fs::read_dir(slot.root()).map(|mut entries| entries.next().is_some()) {
                Ok(true) => {
                    Err(Error::new(ErrorKind::Config, "the folder has no manifest, so it was never complete")
                        .with_context("folder", slot.root().display()))
                }
                _ => Ok(None),
            };
        };
        self.check(sealed.manifest())?;
        if let Self::Model { profile, precision } = self {
            ModelFiles::find(home, profile, *precision)?;
        }
        Ok(Some(sealed))
    }

    /// Its manifest, if every file is there and has its size.
    fn look(&self, home: &DataHome) -> Result<Option<Manifest>, Error> {
        let Some(sealed) = self.open(home)? else {
            return Ok(None);
        };
        let manifest = sealed.manifest();
        manifest.files.iter().try_for_each(|file| file.verify_size(sealed.folder()).map(drop))?;
        Ok(Some(manifest.clone()))
    }

    /// Its manifest, if every byte is right. Blocks.
    pub(crate) fn verified(&self, home: &DataHome) -> Result<Option<Manifest>, Error> {
        let Some(sealed) = self.open(home)? else {
            return Ok(None);
        };
        sealed.verify(|_| true)?;
        Ok(Some(sealed.manifest().clone()))
    }
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.version())
    }
}

/// What a model of the data folder is that isn't built in; `None` if there is none. One that is damaged has only its name.
fn profile_in(home: &DataHome, name: &str, precision: Precision) -> Option<&'static Profile> {
    match ModelFiles::named(home, name, precision) {
        Ok(files) => files.profile().ok(),
        Err(error) if error.kind() == ErrorKind::ModelNotFound => None,
        Err(_) => {
            let mut file = ProfileFile::of(&Profile::custom("", 1, Shape::new(1, 1, 1)));
            name.clone_into(&mut file.name);
            file.profile().ok()
        }
    }
}

/// Every known asset and every other model of the data folder, and its state. Compares sizes, not contents.
#[must_use]
pub fn list(home: &DataHome) -> Vec<Listed> {
    let listed = Asset::all_in(home).into_iter().map(|asset| {
        let slot = asset.slot(home);
        let state = match asset.look(home) {
            Ok(None) => AssetState::Absent,
            Ok(Some(manifest)) => AssetState::Present {
                bytes: manifest.files.iter().map(|file| file.bytes).sum(),
                source: manifest.source,
            },
            Err(error) => AssetState::Damaged(error),
        };
        Listed { asset, folder: slot.folder(), pointer: slot.pointer().ok().flatten(), state }
    });
    listed.collect()
}

/// Reads every file of these assets and compares it with its manifest. An absent asset has no files.
///
/// If the future is dropped, the file that is being read is still read completely.
///
/// # Errors
///
/// Only if the check itself can't be made; what it finds is in the outcome of each file.
pub async fn verify(
    home: &DataHome,
    assets: &[Asset],
    progress: &dyn Progress,
) -> Result<Vec<Verified>, Error> {
    let mut verified = Vec::new();
    for &asset in assets {
        let home = home.clone();
        verified.extend(blocking(progress, move |progress| Ok(verify_asset(asset, &home, progress))).await?);
    }
    Ok(verified)
}

fn verify_asset(asset: Asset, home: &DataHome, progress: &dyn Progress) -> Vec<Verified> {
    let sealed = match asset.open(home) {
        Ok(Some(sealed)) => sealed,
        Ok(None) => return Vec::new(),
        Err(error) => {
            return vec![Verified { asset, file: MANIFEST_NAME.to_owned(), bytes: 0, outcome: Err(error) }];
        }
    };
    let files = sealed.manifest().files.iter().map(|file| {
        progress.message(&format!("Checking {} of {asset}", file.name));
        let outcome = file.verify(sealed.folder()).map(drop);
        Verified { asset, bytes: file.bytes, outcome, file: file.name.clone() }
    });
    files.collect()
}
