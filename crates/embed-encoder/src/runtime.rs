//! Finds ONNX Runtime and starts it once per process.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use embed_core::{Error, ErrorKind};
use ort::environment::Environment;

use crate::assets::{DataHome, SealedFolder};

/// The environment variable that names the library, as for every program that uses `ort`.
pub const RUNTIME_VARIABLE: &str = "ORT_DYLIB_PATH";

/// The oldest version that this crate supports, `1.x`: the feature `api-22` of `ort`.
pub const OLDEST_RUNTIME: u32 = 22;

/// The name of the library in its manifest.
const RUNTIME_NAME: &str = "onnxruntime";

/// The environment lives as long as the process: sessions of several embedders share it, and ONNX Runtime
/// can't be loaded twice.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Where the library was found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RuntimeLibrary {
    /// [`EncoderConfig::runtime_library`](crate::EncoderConfig::runtime_library) names it.
    Named(PathBuf),
    /// `ORT_DYLIB_PATH` names it.
    Variable(PathBuf),
    /// It lies in the data folder.
    DataHome(SealedLibrary),
    /// The system's loader finds it by name.
    System(PathBuf),
    /// It is linked into this program (feature `download-binaries`).
    Linked,
}

/// The library in the data folder, which is not removed while this lives.
#[derive(Debug, Clone)]
pub struct SealedLibrary {
    path: PathBuf,
    folder: Arc<SealedFolder>,
}

impl RuntimeLibrary {
    /// Finds the library: `named`, else `ORT_DYLIB_PATH`, else the one in the data folder, else the system's. A name without
    /// a folder is looked up by the system's loader.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a named file isn't there, or the manifest of the data folder's copy is damaged.
    pub fn find(home: &DataHome, named: Option<&Path>) -> Result<Self, Error> {
        if cfg!(not(feature = "load-dynamic")) {
            return Ok(Self::Linked);
        }
        if let Some(path) = named {
            return there(path, "`EncoderConfig::runtime_library`").map(Self::Named);
        }
        if let Some(path) = std::env::var_os(RUNTIME_VARIABLE).filter(|path| !path.is_empty()) {
            return there(Path::new(&path), RUNTIME_VARIABLE).map(Self::Variable);
        }
        let fix = |error: Error| error.with_context("fix", "embed models pull");
        if let Some(folder) = home.runtime_slot().open().map_err(fix)? {
            let manifest = folder.manifest();
            let wrong = |what: &str| {
                fix(Error::new(ErrorKind::Config, what).with_context("folder", folder.folder().display()))
            };
            if manifest.name != RUNTIME_NAME {
                return Err(wrong("the folder of the runtime holds something else"));
            }
            let library =
                manifest.files.first().ok_or_else(|| wrong("the manifest of the runtime lists no file"))?;
            let path = folder.folder().join(&library.name);
            return Ok(Self::DataHome(SealedLibrary { path, folder: Arc::new(folder) }));
        }
        let name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        Ok(Self::System(name.into()))
    }

    /// The file, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Named(path) | Self::Variable(path) | Self::System(path) => Some(path),
            Self::DataHome(library) => Some(&library.path),
            Self::Linked => None,
        }
    }

    /// Checks every byte of the copy in the data folder. For other copies no digest is known.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if it isn't what its manifest says.
    pub fn verify(&self) -> Result<(), Error> {
        match self {
            Self::DataHome(library) => library
                .folder
                .verify(|_| true)
                .map_err(|error| error.with_context("fix", "embed models pull")),
            Self::Named(_) | Self::Variable(_) | Self::System(_) | Self::Linked => Ok(()),
        }
    }

    /// [Verifies](Self::verify) the library, loads it and checks its version. Later calls in the same process use the first
    /// library, whatever they ask for.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the library is damaged, can't be loaded, isn't ONNX Runtime or is too old.
    pub fn start(&self) -> Result<(), Error> {
        self.environment().map(drop)
    }

    /// The environment of ONNX Runtime, for a program that opens its own sessions: a process may have only
    /// one. It is the `Environment` of the exact version of `ort` that this crate is built with, behind
    /// `Any` so that no type of a pre-release is a part of this interface.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn shared_environment(&self) -> Result<Box<dyn Any + Send + Sync>, Error> {
        Ok(Box::new(self.environment()?))
    }

    pub(crate) fn environment(&self) -> Result<Environment, Error> {
        let mut current = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(environment) = &*current {
            return Ok(environment.clone());
        }
        self.verify()?;
        let environment = self
            .builder()?
            .with_name("embed-encoder")
            .with_telemetry(false)
            .build()
            .map_err(|error| runtime_error("ONNX Runtime doesn't start", error))?;
        Ok(current.insert(environment).clone())
    }

    #[cfg(feature = "load-dynamic")]
    fn builder(&self) -> Result<ort::environment::EnvironmentBuilder, Error> {
        use ort::LoadDynamicError as Load;

        let path = self.path().unwrap_or(Path::new(""));
        let fix = match self {
            Self::Named(_) => {
                "let `EncoderConfig::runtime_library` name another one, or unset it and run `embed models pull`"
            }
            Self::Variable(_) => {
                "let ORT_DYLIB_PATH name another one, or unset it and run `embed models pull`"
            }
            _ => "run `embed models pull` to fetch it",
        };
        ort::init_from(path).map_err(|error| {
            let message = match &error {
                Load::BadVersion { version_str, .. } => format!(
                    "the ONNX Runtime library is version {version_str}, and 1.{OLDEST_RUNTIME} or newer is needed; {fix}"
                ),
                Load::Dlopen { .. } if matches!(self, Self::System(_)) || is_bare(path) => {
                    format!("there is no ONNX Runtime library; {fix}")
                }
                Load::Dlopen { .. } => format!("the ONNX Runtime library can't be loaded; {fix}"),
                _ => format!("the file is not an ONNX Runtime library; {fix}"),
            };
            Error::new(ErrorKind::Config, message).with_context("library", path.display()).with_source(error)
        })
    }

    #[cfg(not(feature = "load-dynamic"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the other form needs both")]
    fn builder(&self) -> Result<ort::environment::EnvironmentBuilder, Error> {
        Ok(ort::init())
    }
}

/// Whether a path is only a name, which the system's loader looks up in its search path.
fn is_bare(path: &Path) -> bool {
    path.parent().is_none_or(|folder| folder.as_os_str().is_empty())
}

/// A named path, if there may be a file: in this program's folder, where `ort` looks first, or at the path itself.
fn there(path: &Path, who: &str) -> Result<PathBuf, Error> {
    let beside = || std::env::current_exe().ok()?.parent().map(|folder| folder.join(path));
    if is_bare(path) || path.is_file() || beside().is_some_and(|path| path.is_file()) {
        return Ok(path.to_owned());
    }
    let what = format!("there is no ONNX Runtime library at the path that {who} names; correct or unset it");
    Err(Error::new(ErrorKind::Config, what).with_context("path", path.display()))
}

/// The version and the build of the running library, once one was started.
#[must_use]
pub fn runtime_build() -> Option<&'static str> {
    let started = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    started.then(ort::info)
}

/// An error with one sentence of ours, and the message of ONNX Runtime as its source.
pub(crate) fn runtime_error<R>(what: &str, error: ort::Error<R>) -> Error
where
    ort::Error<R>: std::error::Error,
{
    // Only the text is kept, since some of these errors contain a builder that isn't `Send`.
    Error::new(ErrorKind::Internal, what).with_source(std::io::Error::other(error.to_string()))
}
