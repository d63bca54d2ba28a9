//! A model that is fetched when it is loaded first: from a double of the hub, with the weights of a real model.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use embed::assets::{HubOptions, Proxy, PullOptions, Raw, Repack, SourceChoice};
use embed::encoder::Shape;
use embed::encoder::assets::{DataHome, ModelFiles};
use embed::{EmbedderExt, Error, ErrorKind, ModelBuilder, Precision, Profile, Progress, Pull, Result};
use embed_testkit::hub::{Fault, HubDouble, Place};
use tempfile::TempDir;

use crate::{offline, on_this_machine};

/// The network of all-MiniLM-L6-v2 under another name.
static FETCHED: Profile = Profile::custom("fetched", 384, Shape::new(6, 12, 1536))
    .with_source("somebody/fetched", "0123456789abcdef0123456789abcdef01234567")
    .with_max_tokens(256);

/// A hub that has it, and a data folder that doesn't, but has ONNX Runtime.
struct Fresh {
    hub: HubDouble,
    home: TempDir,
    /// The files of the real model, which the fetched ones become.
    model: PathBuf,
}

/// Makes a model by copying one.
#[derive(Debug)]
struct Copied(PathBuf);

impl Repack for Copied {
    fn repack(&self, _: &Raw, _: &'static Profile, _: Precision, folder: &Path) -> Result<(), Error> {
        for entry in fs::read_dir(&self.0).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != embed::encoder::assets::MANIFEST_NAME {
                fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
            }
        }
        Ok(())
    }
}

/// What was said about the progress.
#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn note(&self, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }
}

impl Progress for Heard {
    fn message(&self, text: &str) {
        self.note(text);
    }

    fn bytes(&self, file: &str, _: u64, _: Option<u64>) {
        self.note(file);
    }

    fn finished(&self, file: &str) {
        self.note(file);
    }
}

impl Fresh {
    async fn new() -> Option<Self> {
        on_this_machine("all-minilm-l6-v2", offline("all-minilm-l6-v2").load().await)?;
        let there = DataHome::from_env().unwrap();
        let model = Profile::by_name("all-minilm-l6-v2").unwrap();
        let model = ModelFiles::find(&there, model, Precision::Int8).unwrap().sealed().folder().to_owned();
        let home = TempDir::new().unwrap();
        copy_tree(&there.root().join("runtime"), &home.path().join("runtime"));
        let hub = HubDouble::start().await;
        for file in ["config.json", "tokenizer.json"] {
            hub.put(FETCHED.repository, FETCHED.revision, file, "{}");
        }
        hub.put_large(FETCHED.repository, FETCHED.revision, "model.safetensors", "weights");
        Some(Self { hub, home, model })
    }

    fn options(&self) -> PullOptions {
        let mut options = PullOptions::default();
        options.source = SourceChoice::Hub;
        options.hub = HubOptions::default();
        options.hub.endpoint = self.hub.endpoint();
        options.hub.proxy = Proxy::Direct;
        options.repack = Arc::new(Copied(self.model.clone()));
        options
    }

    fn model(&self) -> ModelBuilder {
        ModelBuilder::from(&FETCHED).home(self.home.path()).pull_options(self.options())
    }

    fn requests(&self) -> usize {
        self.hub.requests().len()
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).into_iter().flatten() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[tokio::test]
async fn a_model_is_fetched_when_it_is_loaded_first_and_only_then() {
    let Some(fresh) = Fresh::new().await else { return };
    let heard = Heard::default();
    let model = fresh.model().progress(heard.clone()).load().await.unwrap();
    let real = offline("all-minilm-l6-v2").load().await.unwrap();
    let [fetched, expected] = [&model, &real].map(|model| model.encode_query("how high is Mount Fuji"));
    assert_eq!(fetched.await.unwrap().vector(), expected.await.unwrap().vector());
    assert!(heard.0.lock().unwrap().iter().any(|said| said.contains("model.safetensors")));

    let (requests, said) = (fresh.requests(), heard.0.lock().unwrap().len());
    assert!(requests >= 3);
    for pull in [Pull::Missing, Pull::Current, Pull::Never] {
        fresh.model().pull(pull).progress(heard.clone()).load().await.unwrap();
    }
    assert_eq!((fresh.requests(), heard.0.lock().unwrap().len()), (requests, said), "it was all there");
}

#[tokio::test]
async fn what_is_damaged_is_an_error_until_it_may_be_fetched_anew() {
    let Some(fresh) = Fresh::new().await else { return };
    drop(fresh.model().load().await.unwrap());
    let home = DataHome::new(fresh.home.path());
    let tokenizer = ModelFiles::find(&home, &FETCHED, Precision::Int8).unwrap().tokenizer.clone();
    let mut text = fs::read_to_string(&tokenizer).unwrap();
    text.replace_range(..1, " ");
    fs::write(&tokenizer, text).unwrap();
    assert_eq!(fresh.model().load().await.unwrap_err().kind(), ErrorKind::Config);
    fresh.model().pull(Pull::Current).load().await.unwrap();
    fresh.model().pull(Pull::Never).load().await.unwrap();
}

/// The hub runs on the other threads of this runtime.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocking_load_fetches_also_inside_of_a_runtime() {
    let Some(fresh) = Fresh::new().await else { return };
    let model = embed::blocking::load(fresh.model()).unwrap();
    assert_eq!(model.model().name(), "fetched");
    assert!(fresh.requests() >= 3);
}

#[tokio::test]
async fn a_load_that_nobody_waits_for_fetches_no_more() {
    let Some(fresh) = Fresh::new().await else { return };
    fresh.hub.script(Place::Hub, "config.json", [Fault::Silence]);
    let mut options = fresh.options();
    // It would wait for the silent hub much longer than the next one waits for it: of two pulls of a model one works.
    options.hub.patience.first_response = Duration::from_secs(3600);
    options.lock_wait = Duration::from_secs(60);
    let model = fresh.model().pull_options(options);
    tokio::select! {
        loaded = model.clone().load() => panic!("the hub is silent, but {loaded:?}"),
        () = fresh.hub.reached(1) => {}
    }
    model.load().await.unwrap();
}

#[tokio::test]
async fn what_the_source_says_is_the_error() {
    let Some(fresh) = Fresh::new().await else { return };
    fresh.hub.script(Place::Hub, "config.json", [Fault::Status(401, None)]);
    let error = fresh.model().load().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
    assert!(ModelFiles::find(&DataHome::new(fresh.home.path()), &FETCHED, Precision::Int8).is_err());
}

/// What `config.json` of that network says.
#[cfg(feature = "settings")]
const CONFIG: &str = r#"{ "model_type": "bert", "hidden_act": "gelu", "hidden_size": 384, "intermediate_size": 1536,
    "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "num_attention_heads": 12, "num_hidden_layers": 6,
    "position_embedding_type": "absolute", "type_vocab_size": 2, "vocab_size": 30522, "pad_token_id": 0 }"#;

#[cfg(feature = "settings")]
#[tokio::test]
async fn a_stack_fetches_what_its_file_declares() {
    use embed::stack::{StackBuilder, settings};

    let Some(fresh) = Fresh::new().await else { return };
    let (name, repository, revision) = ("declared", FETCHED.repository, FETCHED.revision);
    let tokenizer = fs::read_to_string(fresh.model.join("tokenizer.json")).unwrap();
    fresh.hub.put(repository, revision, "config.json", CONFIG);
    fresh.hub.put(repository, revision, "tokenizer.json", tokenizer);
    let file = fresh.home.path().join("embed.toml");
    let declared = format!(
        "[[model]]\nname = {name:?}\nmodel = {repository:?}\nrevision = {revision:?}\npooling = \"mean\"\n\
         normalise = true\nmax_tokens = 256\n"
    );
    fs::write(&file, declared).unwrap();
    let stack = |pull| {
        let settings = settings::read_file(&file).map_err(Error::from).unwrap();
        StackBuilder::from(settings).home(fresh.home.path()).pull_options(fresh.options()).pull(pull)
    };
    let error = stack(Pull::Never).load().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelNotFound, "{error}");
    let fetched = stack(Pull::Missing).load().await.unwrap();
    let real = offline("all-minilm-l6-v2").load().await.unwrap();
    let [vector, expected] = [
        fetched.encode_query("how high is Mount Fuji").await.unwrap(),
        real.encode_query("how high is Mount Fuji").await.unwrap(),
    ];
    assert_eq!(vector.vector(), expected.vector());
    let requests = fresh.requests();
    stack(Pull::Missing).load().await.unwrap();
    stack(Pull::Never).load().await.unwrap();
    assert_eq!(fresh.requests(), requests, "it was all there");
}
