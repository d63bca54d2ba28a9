//! The Hugging Face hub as a source.
//!
//! This implements the few parts of the hub's protocol that are needed to fetch known files. The hub's own crate,
//! `hf-hub` 1.0, would add a dependency tree of 589 lines with the client of its storage service (xet), and has no setting
//! for how soon to give up on a silent hub.

mod client;
mod content;
mod download;
mod pins;
mod repository;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};

use embed_core::{Error, ErrorKind};
use embed_encoder::assets::DataHome;

use crate::Progress;
pub(crate) use content::{ContentId, is_content};
use download::Downloads;
pub(crate) use pins::{HubFile, files_of};
pub(crate) use repository::Repository;
pub use settings::{HubOptions, HubToken, Patience, Proxy};

/// One repository.
#[derive(Debug)]
pub(crate) struct Hub<'a> {
    options: &'a HubOptions,
    repository: Repository<'a>,
    downloads: Downloads<'a>,
    progress: &'a dyn Progress,
}

/// Where the raw files of a model are kept until it is made.
pub(crate) fn downloads_of(home: &DataHome, model: &str) -> PathBuf {
    home.root().join("downloads").join(model)
}

impl<'a> Hub<'a> {
    pub(crate) fn new(
        home: &DataHome,
        repository: Repository<'a>,
        options: &'a HubOptions,
        progress: &'a dyn Progress,
    ) -> Self {
        let folder = downloads_of(home, repository.model).join(repository.revision);
        let downloads = Downloads::new(repository, options, folder, progress);
        Self { options, repository, downloads, progress }
    }

    /// The path of a file on this machine: in the hub's own cache, from an earlier download, or fetched now.
    pub(crate) async fn obtain(&self, file: HubFile) -> Result<PathBuf, Error> {
        let cached = self.cached(file).await;
        match &cached {
            HubCacheFile::Whole(path) => {
                self.progress.message(&format!("Taking {} from the hub's cache", file.path));
                return Ok(path.clone());
            }
            HubCacheFile::Useless { path, why } if !self.options.offline => self.progress.message(&format!(
                "{} in the hub's cache {why}, so it is fetched anew; it lies at {}",
                file.path,
                path.display()
            )),
            HubCacheFile::Useless { .. } | HubCacheFile::Absent => {}
        }
        if let Some(path) = self.kept(file).await? {
            return Ok(path);
        }
        if self.options.offline {
            return Err(self.offline(file, cached));
        }
        self.downloads.fetch(file).await
    }

    /// As [`obtain`](Self::obtain); `None` if the repository doesn't have the file.
    pub(crate) async fn obtain_if_there(&self, file: HubFile) -> Result<Option<PathBuf>, Error> {
        // The hub's tools leave an empty file for each that they asked for and that isn't there.
        let is_noted = self
            .options
            .cache
            .as_ref()
            .is_some_and(|cache| self.in_cache(cache, ".no_exist").join(file.path).exists());
        if self.options.offline && is_noted {
            return Ok(None);
        }
        match self.obtain(file).await {
            Ok(path) => Ok(Some(path)),
            Err(error) if error.kind() == ErrorKind::ModelNotFound => Ok(None),
            Err(error) if self.options.offline => Err(error.with_context(
                "or",
                "declare the folder of the snapshot as the model's source, where an absent file is absent",
            )),
            Err(error) => Err(error),
        }
    }

    /// What the hub's own tools keep of this revision.
    fn in_cache(&self, cache: &Path, what: &str) -> PathBuf {
        let repository = format!("models--{}", self.repository.name.replace('/', "--"));
        cache.join(repository).join(what).join(self.repository.revision)
    }

    /// A file that the hub's own tools fetched. They name it after its content, so a damaged or wrong one is noticed here.
    async fn cached(&self, file: HubFile) -> HubCacheFile {
        let Some(cache) = &self.options.cache else {
            return HubCacheFile::Absent;
        };
        let path = self.in_cache(cache, "snapshots").join(file.path);
        let Ok(path) = fs::canonicalize(&path) else {
            return HubCacheFile::Absent;
        };
        let named = || path.file_name().and_then(|name| name.to_str()).and_then(ContentId::parse);
        let Some(expected) = file.digest.pinned().or_else(named) else {
            // Where the hub's tools can't make links, names say nothing about the content.
            return HubCacheFile::Useless {
                path,
                why: "can't be checked, since its name is no digest".to_owned(),
            };
        };
        match is_content(&path, expected, self.progress).await {
            Ok(true) => HubCacheFile::Whole(path),
            Ok(false) => HubCacheFile::Useless { path, why: "is damaged or another file".to_owned() },
            Err(_) => HubCacheFile::Useless { path, why: "can't be read".to_owned() },
        }
    }

    /// The error if nothing may be fetched and the cache doesn't have the file.
    fn offline(&self, file: HubFile, cached: HubCacheFile) -> Error {
        let (name, repository) = (file.path, self.repository.name);
        let unavailable = |what: String| Error::new(ErrorKind::Unavailable, what);
        match cached {
            HubCacheFile::Useless { path, why } => unavailable(format!(
                "HF_HUB_OFFLINE is set and {name} of {repository} in the hub's cache {why}; remove it and pull once \
                 without HF_HUB_OFFLINE, or use `embed models import`"
            ))
            .with_context("file", path.display()),
            HubCacheFile::Whole(_) | HubCacheFile::Absent => unavailable(format!(
                "HF_HUB_OFFLINE is set and {name} of {repository} is not in the hub's cache; unset it, or use \
                 `embed models import`"
            ))
            .with_context("revision", self.repository.revision),
        }
    }

    /// A file that an earlier pull left, because it ended early or was asked to keep it.
    async fn kept(&self, file: HubFile) -> Result<Option<PathBuf>, Error> {
        let place = self.downloads.place(file);
        if !place.whole.is_file() {
            return Ok(None);
        }
        let Some(expected) = file.digest.pinned().or_else(|| place.note().id()) else {
            return Ok(None);
        };
        let good = is_content(&place.whole, expected, self.progress).await.unwrap_or(false);
        Ok(good.then_some(place.whole))
    }
}

/// The state of a file in the hub's own cache.
#[derive(Debug)]
enum HubCacheFile {
    Whole(PathBuf),
    Useless { path: PathBuf, why: String },
    Absent,
}
