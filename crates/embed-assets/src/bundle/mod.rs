//! Bundles: what is in the data folder as one file, for machines without a network.
//!
//! A bundle is a zip archive whose entries are stored as they are:
//!
//! ```text
//! embed-bundle.json                                   format, folders, platform of the library
//! models/<model>/<precision>/manifest.json, …         as in the data folder
//! runtime/manifest.json, …
//! ```

mod read;
mod write;

use std::path::Path;

use embed_core::{Error, ErrorKind};
use embed_e5::assets::DataHome;
use serde::{Deserialize, Serialize};

use crate::progress::blocking;
use crate::store::Lock;
use crate::{Asset, Progress};

const INDEX_NAME: &str = "embed-bundle.json";

const FORMAT: u32 = 1;

/// What a bundle says of itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    format: u32,
    assets: Vec<IndexEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexEntry {
    folder: String,
    /// Only for the library: a model serves every platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
}

/// Writes assets of the data folder into a bundle, which replaces a file of that name. Gives its size.
///
/// Every file is checked while it is read. If the future is dropped, the work goes on to its end.
///
/// # Errors
///
/// [`ErrorKind::ModelNotFound`] if one of the assets isn't there, [`ErrorKind::Config`] if one is damaged
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

/// Puts what a bundle holds into the data folder, in the place of what is there. Gives what it was.
///
/// Nothing is put in place before every file of the bundle is unpacked and its digest checked. A library for
/// another platform is left out. The digests tell of damage, not of malice: import bundles from people whose
/// programs you would run.
///
/// # Errors
///
/// [`ErrorKind::Config`] if it is not a bundle, if it is damaged, cut short or holds what doesn't belong
/// there, or if the data folder can't be written.
pub async fn import(home: &DataHome, path: &Path, progress: &dyn Progress) -> Result<Vec<Asset>, Error> {
    let path = path.to_owned();
    let (bundle, assets) = blocking(progress, move |progress| {
        let bundle = read::Bundle::open(&path)?;
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
        locks.push((name, Lock::acquire(home, name, progress).await?));
    }
    let home = home.clone();
    blocking(progress, move |progress| {
        bundle.put_in_place(&home, &assets, &locks, progress)?;
        Ok(assets)
    })
    .await
}

/// The folder in a bundle, which is the one in the data folder with slashes.
fn folder_of(asset: Asset) -> String {
    match asset {
        Asset::Model { profile, precision } => format!("models/{}/{precision}", profile.name),
        Asset::Runtime => "runtime".to_owned(),
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{} {what}; export or copy it again", path.display()))
}
