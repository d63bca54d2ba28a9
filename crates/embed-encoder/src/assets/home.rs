//! The data folder.

use std::env;
use std::path::{Path, PathBuf};

use embed_core::{Error, ErrorKind};
use etcetera::BaseStrategy;

use super::Slot;
use super::manifest::is_portable;
use crate::{Precision, Profile};

/// The folder that holds the models and the runtime library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataHome {
    root: PathBuf,
}

impl DataHome {
    /// The environment variable that names the folder.
    pub const VARIABLE: &str = "EMBED_HOME";

    /// A data folder at this path, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// `EMBED_HOME` if it is set, else `embed` in the platform's folder for data
    /// (`$XDG_DATA_HOME` or `~/.local/share` on Linux).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if `EMBED_HOME` is set and empty, or if it isn't set and there is no home
    /// folder.
    pub fn from_env() -> Result<Self, Error> {
        match env::var_os(Self::VARIABLE) {
            Some(root) if root.is_empty() => {
                Err(Error::new(ErrorKind::Config, "EMBED_HOME is set but empty; name a folder or unset it"))
            }
            Some(root) => Ok(Self::new(root)),
            None => etcetera::choose_base_strategy()
                .map(|base| Self::new(base.data_dir().join("embed")))
                .map_err(|source| {
                    Error::new(ErrorKind::Config, "there is no home folder; set EMBED_HOME to a data folder")
                        .with_source(source)
                }),
        }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the versions of a model in a precision lie.
    #[must_use]
    pub fn model_slot(&self, profile: &Profile, precision: Precision) -> Slot {
        self.named_slot(profile.name, precision)
    }

    /// Where the versions of the model of this name lie. The name must be one that a folder can have.
    #[must_use]
    pub(crate) fn named_slot(&self, name: &str, precision: Precision) -> Slot {
        Slot::new(self.models_dir().join(name).join(precision.as_str()))
    }

    /// Whether a model may have this name, which is that of its folder on every system: lower-case letters, digits, `.`, `_`
    /// and `-`, and no dot first.
    #[must_use]
    pub fn is_model_name(name: &str) -> bool {
        let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain) && is_portable(name)
    }

    /// The folder that has a folder for each model.
    #[must_use]
    pub fn models_dir(&self) -> PathBuf {
        self.root.join("models")
    }

    /// Where the versions of the ONNX Runtime library lie.
    #[must_use]
    pub fn runtime_slot(&self) -> Slot {
        Slot::new(self.root.join("runtime"))
    }

    /// The folder with the current files of a model in a precision: [`Slot::folder`].
    #[must_use]
    pub fn model_dir(&self, profile: &Profile, precision: Precision) -> PathBuf {
        self.model_slot(profile, precision).folder()
    }

    /// The folder with the current ONNX Runtime library: [`Slot::folder`].
    #[must_use]
    pub fn runtime_dir(&self) -> PathBuf {
        self.runtime_slot().folder()
    }
}
