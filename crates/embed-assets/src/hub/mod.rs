//! The Hugging Face hub as a source.
//!
//! This speaks the few parts of the hub's protocol that fetching known files takes. The hub's own crate,
//! `hf-hub` 1.0, would bring a dependency tree of 589 lines with the client of its storage service (xet),
//! and it leaves no say in how soon a silent hub is given up.

mod client;
mod download;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};

use embed_core::{Error, ErrorKind};
use embed_e5::Profile;
use embed_e5::assets::{DataHome, sha256_file};

use crate::Progress;
use crate::progress::blocking;
use client::Client;
pub use settings::{HubOptions, Patience, Proxy, Token};

/// A file of a repository.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HubFile {
    /// Its path in the repository.
    pub(crate) path: &'static str,
    /// How its bytes are known to be the right ones.
    pub(crate) digest: Digest,
}

/// How the bytes of a file are known to be the right ones.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Digest {
    /// By this SHA-256.
    Pinned(&'static str),
    /// By the SHA-256 that the hub announces for large files; without one the file isn't taken.
    Announced,
    /// By the SHA-256 that the hub announces, if it does; small files come with their length only.
    IfAnnounced,
}

/// One model's repository at its pinned revision.
#[derive(Debug)]
pub(crate) struct Hub<'a> {
    options: &'a HubOptions,
    profile: &'a Profile,
    downloads: PathBuf,
    progress: &'a dyn Progress,
    client: Client<'a>,
}

/// Where the raw files of a model are kept until it is made.
pub(crate) fn downloads_of(home: &DataHome, profile: &Profile) -> PathBuf {
    home.root().join("downloads").join(profile.name)
}

impl<'a> Hub<'a> {
    pub(crate) fn new(
        home: &DataHome,
        profile: &'a Profile,
        options: &'a HubOptions,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            options,
            profile,
            downloads: downloads_of(home, profile).join(profile.revision),
            progress,
            client: Client::new(options),
        }
    }

    /// The path of a file on this machine: out of the hub's own cache, out of an earlier download, or
    /// fetched now.
    pub(crate) async fn obtain(&self, file: HubFile) -> Result<PathBuf, Error> {
        if let Some(path) = self.cached(file).await? {
            self.progress.message(&format!("Taking {} from the hub's cache", file.path));
            return Ok(path);
        }
        if let Some(path) = self.kept(file).await? {
            return Ok(path);
        }
        if self.options.offline {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "HF_HUB_OFFLINE is set and {} of {} is not in the hub's cache; unset it, or use \
                     `embed models import`",
                    file.path, self.profile.repository
                ),
            ));
        }
        self.download(file).await
    }

    /// A file that the hub's own tools fetched. Those keep large files under the name of their SHA-256, so
    /// that a damaged one is found out here.
    async fn cached(&self, file: HubFile) -> Result<Option<PathBuf>, Error> {
        let Some(cache) = &self.options.cache else {
            return Ok(None);
        };
        let path = cache
            .join(format!("models--{}", self.profile.repository.replace('/', "--")))
            .join("snapshots")
            .join(self.profile.revision)
            .join(file.path);
        let Ok(blob) = fs::canonicalize(&path) else {
            return Ok(None);
        };
        let named = blob.file_name().and_then(|name| name.to_str()).and_then(sha256_in);
        let expected = match (file.digest, named) {
            (Digest::Pinned(sha256), _) => Some(sha256.to_owned()),
            (_, Some(sha256)) => Some(sha256),
            // Where the hub's tools can't make links, the name says nothing, and neither does the file.
            (Digest::Announced, None) => return Ok(None),
            (Digest::IfAnnounced, None) => None,
        };
        Ok(has_digest(&blob, expected, self.progress).await?.then_some(blob))
    }

    /// A file of an earlier pull that ended before the model was made, or that was asked to keep it.
    async fn kept(&self, file: HubFile) -> Result<Option<PathBuf>, Error> {
        let place = self.place(file);
        if !place.whole.is_file() {
            return Ok(None);
        }
        let expected = match file.digest {
            Digest::Pinned(sha256) => Some(sha256.to_owned()),
            Digest::Announced | Digest::IfAnnounced => place.note().sha256,
        };
        let good = expected.is_some() && has_digest(&place.whole, expected, self.progress).await?;
        Ok(good.then_some(place.whole))
    }
}

/// SHA-256 that a header or a file name holds; other digests have other lengths.
fn sha256_in(text: &str) -> Option<String> {
    let text = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
    let hexadecimal = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hexadecimal.then(|| text.to_ascii_lowercase())
}

/// Whether a file has this digest, if there is one. A file that can't be read has none.
pub(crate) async fn has_digest(
    path: &Path,
    expected: Option<String>,
    progress: &dyn Progress,
) -> Result<bool, Error> {
    let Some(expected) = expected else {
        return Ok(path.is_file());
    };
    let path = path.to_owned();
    blocking(progress, move |_| Ok(sha256_file(&path).is_ok_and(|sha256| sha256 == expected))).await
}
