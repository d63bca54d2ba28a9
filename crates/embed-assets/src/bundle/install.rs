//! Installs the assets of a bundle.

use embed_core::Error;
use embed_encoder::RuntimeLibrary;
use embed_encoder::assets::{DataHome, RECIPE};

use crate::lock::Lock;
use crate::store::{self, Staged};
use crate::{Asset, Progress, trial};

/// An asset of a bundle, unpacked and checked, and the lock to change it.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) asset: Asset,
    pub(super) lock: Lock,
    pub(super) staged: Staged,
    pub(super) recipe: u32,
}

/// Installs the library first, because the models are tried with it. If one of them doesn't work, everything stays as it
/// was.
pub(super) fn all(
    home: &DataHome,
    unpacked: Vec<Unpacked>,
    try_models: bool,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let (libraries, models): (Vec<_>, Vec<_>) =
        unpacked.into_iter().partition(|unpacked| unpacked.asset == Asset::Runtime);
    let slot = Asset::Runtime.slot(home);
    let before = slot.pointer().ok().flatten();
    let mut came = None;
    for Unpacked { lock, staged, .. } in libraries {
        store::install(&lock, staged, &slot)?;
        came = Some(lock);
    }
    if try_models && let Err(error) = try_all(home, came.is_some(), &models, progress) {
        if let Some(lock) = came {
            store::restore(&lock, &slot, before.as_ref())?;
        }
        return Err(error);
    }
    for Unpacked { asset, lock, staged, recipe } in models {
        if recipe != RECIPE {
            progress.message(&format!(
                "{asset} was made by an earlier version of this program; `embed models pull` makes it anew"
            ));
        }
        store::install(&lock, staged, &asset.slot(home))?;
    }
    Ok(())
}

fn try_all(home: &DataHome, came: bool, models: &[Unpacked], progress: &dyn Progress) -> Result<(), Error> {
    let started = RuntimeLibrary::find(home, None).and_then(|library| library.start().map(|()| library));
    let library = match started {
        Ok(library) => library,
        Err(error) if came => return Err(error),
        Err(error) => {
            progress.message(&format!("The models aren't tried: {error}"));
            return Ok(());
        }
    };
    for Unpacked { asset, staged, .. } in models {
        if let Asset::Model { profile, precision } = asset {
            progress.message(&format!("Trying {asset}"));
            trial::before_install(staged.home(), library.path(), profile, *precision)?;
        }
    }
    Ok(())
}
