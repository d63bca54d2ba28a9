//! Who a server was, kept in the data folder from one run to the next.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use embed_core::{Error, ErrorKind};
use embed_encoder::assets::DataHome;
use embed_openai::{Identity, OpenAiConfig};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

/// The file of a server's identity.
#[derive(Debug, Clone)]
pub struct KeptIdentity(PathBuf);

/// What the file has: the identity, and the settings that it was learnt with.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    model: String,
    dimensions: Option<usize>,
    identity: Identity,
}

impl KeptIdentity {
    /// That of the model of this name.
    pub(super) fn new(home: &DataHome, name: &str) -> Self {
        // No file system has a colon in its names everywhere.
        Self(home.root().join("servers").join(format!("{}.json", name.replace(':', "+"))))
    }

    /// The identity that a server with these settings must have; `None` if none was kept for them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a file that can't be read. To go on without it would take every server.
    pub(super) fn expected(&self, config: &OpenAiConfig) -> Result<Option<Identity>, Error> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unreadable().with_source(error)),
        };
        let kept: Kept =
            serde_json::from_slice(&text).map_err(|error| self.unreadable().with_source(error))?;
        let same = kept.model == config.model && kept.dimensions == config.dimensions;
        Ok(same.then_some(kept.identity))
    }

    /// Keeps who a server is. A data folder that can't be written keeps nothing, which is logged.
    pub(super) fn keep(&self, config: &OpenAiConfig, identity: Identity) {
        let kept = Kept { model: config.model.clone(), dimensions: config.dimensions, identity };
        let written = || -> io::Result<()> {
            let folder = self.0.parent().unwrap_or(&self.0);
            fs::create_dir_all(folder)?;
            let mut file = NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec(&kept)?)?;
            file.persist(&self.0)?;
            Ok(())
        };
        if let Err(error) = written() {
            tracing::debug!(%error, file = %self.0.display(), "the identity of a server can't be kept");
        }
    }

    /// Says what to do about a server that isn't who it was.
    pub(super) fn explain(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::SpaceMismatch => error.with_context("known by", self.0.display()).with_context(
                "fix",
                "if the change is meant, remove that file and embed what is stored again",
            ),
            _ => error,
        }
    }

    fn unreadable(&self) -> Error {
        let what = "the identity of a server, which an earlier run kept, can't be read; remove the file";
        Error::new(ErrorKind::Config, what).with_context("file", self.0.display())
    }
}
