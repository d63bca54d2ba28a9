//! A folder of a model as `transformers` and `sentence-transformers` write it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use embed_core::{Error, ErrorKind};
use embed_encoder::assets::sha256_file;
use sha2::{Digest, Sha256};

use crate::files::failed;
use crate::repack::Raw;

/// The files of a model that every repository has.
pub(crate) const CONFIG: &str = "config.json";
pub(crate) const TOKENIZER: &str = "tokenizer.json";
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// Files of `sentence-transformers`, which say what stands around the network.
pub(crate) const MODULES: &str = "modules.json";
pub(crate) const POOLING: &str = "1_Pooling/config.json";
pub(crate) const SENTENCE: &str = "sentence_bert_config.json";
pub(crate) const PROMPTS: &str = "config_sentence_transformers.json";

/// All of them.
const FILES: [&str; 7] = [CONFIG, TOKENIZER, WEIGHTS, MODULES, POOLING, SENTENCE, PROMPTS];

/// A folder on this machine.
#[derive(Debug, Clone)]
pub(crate) struct ModelFolder {
    root: PathBuf,
    sha256: String,
}

impl ModelFolder {
    /// Looks for the files and reads all of them for their digest. Blocks.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        if !root.is_dir() {
            return Err(Error::new(ErrorKind::ModelNotFound, "there is no such folder with a model")
                .with_context("folder", root.display()));
        }
        for name in [CONFIG, TOKENIZER, WEIGHTS] {
            if !root.join(name).is_file() {
                let what = format!(
                    "the folder has no {name}; write it with save_pretrained of transformers (a fast tokenizer, \
                     weights in one file of safetensors)"
                );
                return Err(Error::new(ErrorKind::ModelNotFound, what).with_context("folder", root.display()));
            }
        }
        Ok(Self { root: root.to_owned(), sha256: digest(root)? })
    }

    /// SHA-256 of all files that a model is made of.
    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The path of a file, if it is there.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.root.join(name)).filter(|path| path.is_file())
    }

    /// The files that a model is made of.
    pub(crate) fn raw(&self) -> Raw {
        let path = |name| self.root.join(name);
        Raw::Files { weights: path(WEIGHTS), config: path(CONFIG), tokenizer: path(TOKENIZER) }
    }

    /// Refuses a folder whose files changed since it was opened. Blocks.
    pub(crate) fn is_unchanged(&self) -> Result<(), Error> {
        if digest(&self.root)? == self.sha256 {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Config, "the model's folder changed while it was read; pull again")
            .with_context("folder", self.root.display()))
    }
}

fn digest(root: &Path) -> Result<String, Error> {
    let mut all = Sha256::new();
    for name in FILES {
        let path = root.join(name);
        match sha256_file(&path) {
            Ok(sha256) => all.update(format!("{name}\0{sha256}\n")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", &path, error)),
        }
    }
    Ok(all.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The bytes of a small file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| failed("read", path, error))
}
