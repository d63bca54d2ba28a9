//! Finds ONNX Runtime and starts it, once in a process.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use embed_core::{Error, ErrorKind};
use ort::environment::Environment;

use crate::assets::{DataHome, Manifest};

/// The environment variable that names the library, as everywhere where `ort` is used.
pub const RUNTIME_VARIABLE: &str = "ORT_DYLIB_PATH";

/// The oldest version whose interface this crate calls, `1.x`: the feature `api-22` of `ort`.
pub const OLDEST_RUNTIME: u32 = 22;

/// The environment lives as long as the process: sessions of several embedders share it, and ONNX Runtime
/// can't be loaded twice.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Where the library was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuntimeLibrary {
    /// The caller's configuration or `ORT_DYLIB_PATH` names it.
    Named(PathBuf),
    /// It lies in the data folder.
    DataHome(PathBuf),
    /// The system's loader is asked for it by name.
    System(PathBuf),
    /// It is a part of this program (feature `download-binaries`).
    Linked,
}

impl RuntimeLibrary {
    /// Finds the library: `named`, else `ORT_DYLIB_PATH`, else the data folder, else the system's.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a named file isn't there, or the data folder's copy isn't whole.
    pub fn find(home: &DataHome, named: Option<&Path>) -> Result<Self, Error> {
        if cfg!(not(feature = "load-dynamic")) {
            return Ok(Self::Linked);
        }
        let from_variable = std::env::var_os(RUNTIME_VARIABLE).filter(|path| !path.is_empty());
        if let Some(path) = named.map(Path::to_owned).or(from_variable.map(PathBuf::from)) {
            if !path.is_file() {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("there is no ONNX Runtime library at the path that {RUNTIME_VARIABLE} names"),
                )
                .with_context("path", path.display()));
            }
            return Ok(Self::Named(path));
        }
        let folder = home.runtime_dir();
        if let Some(manifest) = Manifest::read(&folder)? {
            let library = manifest.files.first().ok_or_else(|| {
                Error::new(ErrorKind::Config, "the manifest of the runtime lists no file")
                    .with_context("folder", folder.display())
            })?;
            // The size alone, for speed: `embed models verify` checks the bytes.
            let path = library
                .verify_size(&folder)
                .map_err(|error| error.with_context("mend", "embed models pull"))?;
            return Ok(Self::DataHome(path));
        }
        let name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        Ok(Self::System(name.into()))
    }

    /// The file, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Named(path) | Self::DataHome(path) | Self::System(path) => Some(path),
            Self::Linked => None,
        }
    }

    /// Loads the library and checks its version. The first one wins: later calls in the same process
    /// use it whatever they ask for.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the library can't be loaded, isn't ONNX Runtime or is too old.
    pub fn start(&self) -> Result<(), Error> {
        self.environment().map(drop)
    }

    /// The environment of ONNX Runtime, for a program that has sessions of its own: a process may have only
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
        let environment = self
            .builder()?
            .with_name("embed-e5")
            .with_telemetry(false)
            .build()
            .map_err(|error| runtime_error("ONNX Runtime doesn't start", error))?;
        Ok(current.insert(environment).clone())
    }

    #[cfg(feature = "load-dynamic")]
    fn builder(&self) -> Result<ort::environment::EnvironmentBuilder, Error> {
        use ort::LoadDynamicError as Load;

        let path = self.path().unwrap_or(Path::new(""));
        let mend = match self {
            Self::Named(_) => "let ORT_DYLIB_PATH name a newer one, or unset it and run `embed models pull`",
            _ => "run `embed models pull` to fetch it",
        };
        ort::init_from(path).map_err(|error| {
            let message = match &error {
                Load::BadVersion { version_str, .. } => format!(
                    "the ONNX Runtime library is version {version_str}, and 1.{OLDEST_RUNTIME} or newer is needed; {mend}"
                ),
                Load::Dlopen { .. } if matches!(self, Self::System(_)) => {
                    format!("there is no ONNX Runtime library; {mend}")
                }
                Load::Dlopen { .. } => format!("the ONNX Runtime library can't be loaded; {mend}"),
                _ => format!("the file is not an ONNX Runtime library; {mend}"),
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

/// The version and the build of the library that runs, once one was started.
#[must_use]
pub fn runtime_build() -> Option<&'static str> {
    let started = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    started.then(ort::info)
}

/// What ONNX Runtime says, behind one sentence of ours.
pub(crate) fn runtime_error<R>(what: &str, error: ort::Error<R>) -> Error
where
    ort::Error<R>: std::error::Error,
{
    // The text is kept and not the error: the builder that some of them carry back isn't `Send`.
    Error::new(ErrorKind::Internal, what).with_source(std::io::Error::other(error.to_string()))
}
