//! Bundles: assets of the data folder in one file, for machines without a network.
//!
//! A bundle is a zip archive whose entries are stored as they are:
//!
//! ```text
//! embed-bundle.json                                   format, folders, platform of the library
//! models/<model>/<precision>/manifest.json, …         the version in use of the data folder
//! runtime/manifest.json, …
//! ```

mod index;
mod install;
mod read;
mod write;

use std::path::Path;
use std::time::Duration;

use embed_core::Error;
use embed_encoder::assets::DataHome;

use crate::lock::{LOCK_WAIT, Lock};
use crate::progress::blocking;
use crate::{Asset, Progress};

/// Writes assets of the data folder into a bundle and returns its size. A file of that name is replaced.
///
/// Every file is checked while it is read. If the future is dropped, the work still continues until it is done.
///
/// # Errors
///
/// [`ErrorKind::ModelNotFound`](embed_core::ErrorKind::ModelNotFound) if one of the assets isn't there, [`ErrorKind::Config`](embed_core::ErrorKind::Config) if one is damaged
/// or the bundle can't be written; then no bundle is left behind.
pub async fn export(
    home: &DataHome,
    assets: &[Asset],
    output: &Path,
    progress: &dyn Progress,
) -> Result<u64, Error> {
    let (home, assets, output) = (home.clone(), assets.to_vec(), output.to_owned());
    blocking(progress, move |progress| write::write(&home, &assets, &output, progress)).await
}

/// How a bundle is imported.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Whether each model must embed a text before it is installed. This needs an ONNX Runtime library, from the bundle or
    /// on this machine; without one the models aren't tried, and a message says so.
    pub try_models: bool,
    /// How long to wait for another program that changes the same models.
    pub lock_wait: Duration,
}

impl Default for ImportOptions {
    /// Models are tried.
    fn default() -> Self {
        Self { try_models: true, lock_wait: LOCK_WAIT }
    }
}

/// Installs the assets of a bundle into the data folder, and returns them.
///
/// Nothing is installed before every file of the bundle is unpacked and its digest checked, and no model before all of
/// them have embedded a text. A library for another platform is skipped. The digests detect damage, not malice: import
/// bundles only from people whose programs you would run. The versions that were in use are kept, so that they can be
/// rolled back to.
///
/// # Errors
///
/// [`ErrorKind::Config`](embed_core::ErrorKind::Config) if it is not a bundle, if it is damaged, cut short or holds what doesn't belong
/// there, or if the data folder can't be written. [`ErrorKind::Protocol`](embed_core::ErrorKind::Protocol) if a model doesn't work.
pub async fn import(home: &DataHome, path: &Path, progress: &dyn Progress) -> Result<Vec<Asset>, Error> {
    import_with(home, path, &ImportOptions::default(), progress).await
}

/// As [`import`], with options.
///
/// # Errors
///
/// As [`import`].
pub async fn import_with(
    home: &DataHome,
    path: &Path,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Vec<Asset>, Error> {
    let path = path.to_owned();
    let (bundle, assets) = blocking(progress, move |progress| {
        let mut bundle = read::Bundle::open(&path)?;
        let assets = bundle.assets(progress)?;
        Ok((bundle, assets))
    })
    .await?;
    // One lock for all precisions of a model, and always in the same order, so that two imports never wait
    // for each other.
    let mut names: Vec<_> = assets.iter().map(Asset::lock_name).collect();
    names.sort_unstable();
    names.dedup();
    let mut locks = Vec::with_capacity(names.len());
    for name in names {
        locks.push((name, Lock::acquire(home, name, options.lock_wait, progress).await?));
    }
    let (home, try_models) = (home.clone(), options.try_models);
    blocking(progress, move |progress| {
        let staged = bundle.unpack_all(&assets, &locks, progress)?;
        install::all(&home, staged, try_models, progress)?;
        Ok(assets)
    })
    .await
}
