//! What the tests of a pull share: a hub with a small made-up model, a data folder, and ears.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod declared;
pub(crate) mod tiny;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use embed_assets::{
    HubOptions, Progress, PullOptions, Pulled, Raw, Repack, Repacker, SourceChoice, pull_model,
};
use embed_core::{Error, ErrorKind};
use embed_encoder::assets::{DataHome, MANIFEST_NAME, MODEL_FILE, Manifest, POINTER_NAME, TOKENIZER_FILE};
use embed_encoder::{Precision, Profile};
use embed_testkit::hub::HubDouble;
use tempfile::TempDir;

/// A model whose files the hub gives with no digest pinned here, so that a test may make them up.
pub(crate) fn profile() -> &'static Profile {
    Profile::by_name("e5-small-v2").unwrap()
}

/// Weights that are larger than every buffer on the way.
pub(crate) fn weights() -> Vec<u8> {
    (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

pub(crate) const CONFIG: &[u8] = b"{\"hidden_size\": 384}";
pub(crate) const TOKENIZER: &[u8] = b"{\"version\": \"1.0\"}";

/// A hub that has the model.
pub(crate) async fn hub() -> HubDouble {
    let hub = HubDouble::start().await;
    let Profile { repository, revision, .. } = profile();
    hub.put(repository, revision, "config.json", CONFIG);
    hub.put(repository, revision, "tokenizer.json", TOKENIZER);
    hub.put_large(repository, revision, "model.safetensors", weights());
    hub
}

/// An empty data folder.
pub(crate) struct Home {
    pub(crate) home: DataHome,
    pub(crate) folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { home: DataHome::new(folder.path().join("home")), folder }
    }

    pub(crate) fn model(&self) -> std::path::PathBuf {
        self.home.model_dir(profile(), Precision::Int8)
    }

    /// The versions of the model that lie in the data folder.
    pub(crate) fn versions(&self) -> usize {
        self.home.model_slot(profile(), Precision::Int8).versions().unwrap().len()
    }

    /// Puts the files where releases without versions had them.
    pub(crate) fn flatten(&self) {
        let slot = self.home.model_slot(profile(), Precision::Int8);
        let folder = slot.folder();
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            fs::rename(entry.path(), slot.root().join(entry.file_name())).unwrap();
        }
        fs::remove_dir(folder).unwrap();
        fs::remove_file(slot.root().join(POINTER_NAME)).unwrap();
    }

    /// Takes the runtime library over from the data folder of this machine, or says that there is none.
    pub(crate) fn with_runtime(self) -> Option<Self> {
        let installed = DataHome::from_env().unwrap().runtime_dir();
        let manifest = Manifest::read(&installed).ok().flatten().ok_or("it isn't in the data folder");
        let manifest = embed_testkit::require("the ONNX Runtime library", manifest)?;
        let slot = self.home.runtime_slot();
        fs::create_dir_all(slot.root()).unwrap();
        for name in manifest.files.iter().map(|file| file.name.as_str()).chain([MANIFEST_NAME]) {
            fs::copy(installed.join(name), slot.root().join(name)).unwrap();
        }
        Some(self)
    }

    /// The names in a folder of the data folder.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.home.root().join(folder)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// The model is the weights as they are.
#[derive(Debug)]
pub(crate) struct Copies;

impl Repack for Copies {
    fn repack(&self, raw: &Raw, _: &'static Profile, _: Precision, folder: &Path) -> Result<(), Error> {
        let Raw::Files { weights, tokenizer, .. } = raw else {
            return Err(Error::new(ErrorKind::Internal, "these tests have no wheel"));
        };
        for (from, to) in [(weights, MODEL_FILE), (tokenizer, TOKENIZER_FILE)] {
            fs::copy(from, folder.join(to)).unwrap();
        }
        Ok(())
    }
}

/// The real writers, and no trial of what they make: for weights that are too small to be a model.
#[derive(Debug)]
pub(crate) struct Untried(pub(crate) Repacker);

impl Repack for Untried {
    fn repack(&self, raw: &Raw, of: &'static Profile, in_: Precision, folder: &Path) -> Result<(), Error> {
        self.0.repack(raw, of, in_, folder)
    }
}

/// Options for this hub, with waits of milliseconds.
pub(crate) fn options(endpoint: String) -> PullOptions {
    let mut options = PullOptions::default();
    options.source = SourceChoice::Hub;
    options.repack = Arc::new(Copies);
    options.hub = HubOptions::default();
    options.hub.endpoint = endpoint;
    options.hub.proxy = embed_assets::Proxy::Direct;
    options.hub.patience.first_pause = Duration::from_millis(1);
    options.hub.patience.longest_pause = Duration::from_millis(4);
    options
}

/// Pulls the made-up model.
pub(crate) async fn pull(home: &Home, options: &PullOptions) -> Result<Pulled, Error> {
    pull_model(&home.home, profile(), Precision::Int8, options, &Ears::default()).await
}

/// Remembers what it is told.
#[derive(Debug, Default, Clone)]
pub(crate) struct Ears {
    said: Arc<Mutex<Vec<String>>>,
}

impl Ears {
    pub(crate) fn heard(&self, part: &str) -> bool {
        self.said.lock().unwrap().iter().any(|text| text.contains(part))
    }
}

impl Progress for Ears {
    fn message(&self, text: &str) {
        self.said.lock().unwrap().push(text.to_owned());
    }
    fn bytes(&self, _: &str, _: u64, _: Option<u64>) {}
    fn finished(&self, _: &str) {}
}

/// Runs one test of this test program in a process of its own: variables of the environment and locks
/// between processes can't be tested otherwise.
pub(crate) fn child(test: &str, variables: &[(&str, &str)]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(name);
    }
    for name in ["NO_PROXY", "no_proxy", "HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE"] {
        command.env_remove(name);
    }
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1").kill_on_drop(true);
    command.envs(variables.iter().copied());
    command
}

/// Set in such a process.
pub(crate) const CHILD: &str = "EMBED_TEST_CHILD";
