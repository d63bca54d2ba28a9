//! Models that are tried before they are put in place: tiny ones that work, and ones that don't.

#![expect(clippy::unwrap_used, reason = "a test may die of what it doesn't expect")]

mod common;

use std::num::NonZeroUsize;
use std::sync::Arc;

use common::tiny::{Tiny, WORDS, tokenizer};
use common::{Ears, Home, TOKENIZER, Untried, options, profile};
use embed_assets::{Asset, PullOptions, Repacker, export, import, pull_model, try_model};
use embed_core::{Embedder, EmbedderExt, ErrorKind};
use embed_encoder::assets::{MANIFEST_NAME, Manifest, ModelFiles};
use embed_encoder::{Encoder, EncoderConfig, Precision, Shape};
use embed_testkit::hub::HubDouble;

const HIDDEN: usize = 384;
const WIDE: usize = 64;
const TINY: Tiny = Tiny { kind: "bert", layers: 1, heads: 12, hidden: HIDDEN, wide: WIDE, positions: 512 };

fn shape() -> Shape {
    Shape::new(1, 12, WIDE).with_vocabulary(WORDS.len())
}

/// A hub with a tiny model, and a data folder with the runtime library; `None` if there is no library here.
async fn set_up() -> Option<(HubDouble, PullOptions, Home)> {
    let home = Home::new().with_runtime()?;
    let hub = HubDouble::start().await;
    put(&hub, 1, &tokenizer());
    let mut options = options(hub.endpoint());
    options.repack = Arc::new(Repacker::of_shape(shape()));
    options.force = true;
    // A test that fetched the library would take minutes.
    options.fetch_runtime = false;
    Some((hub, options, home))
}

fn put(hub: &HubDouble, seed: u32, tokenizer: &str) {
    let (repository, revision) = (profile().repository, profile().revision);
    hub.put(repository, revision, "config.json", TINY.config());
    hub.put(repository, revision, "tokenizer.json", tokenizer.to_owned());
    hub.put_large(repository, revision, "model.safetensors", TINY.weights(seed));
}

async fn pull(home: &Home, options: &PullOptions) -> Result<(), embed_core::Error> {
    pull_model(&home.home, profile(), Precision::F32, options, &Ears::default()).await.map(drop)
}

fn load(home: &Home) -> Encoder {
    let config = EncoderConfig::default().with_home(home.home.clone()).with_profile(profile());
    let config = config.with_precision(Precision::F32).with_threads(NonZeroUsize::MIN);
    Encoder::load_blocking(config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_cannot_embed_is_not_put_in_place_and_the_old_one_stays() {
    let Some((hub, options, home)) = set_up().await else { return };
    pull(&home, &options).await.unwrap();
    let before = load(&home).encode_query("the quick brown fox").await.unwrap();

    // Whole files of the right names, as far as digests go.
    let no_unknown = tokenizer().replace("\"unk_token\":\"[UNK]\"", "\"unk_token\":\"[NONE]\"");
    for broken in [std::str::from_utf8(TOKENIZER).unwrap(), "{", &no_unknown] {
        put(&hub, 1, broken);
        let error = pull(&home, &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        assert!(error.to_string().contains("can't embed a text"), "{error}");
        let after = load(&home).encode_query("the quick brown fox").await.unwrap();
        assert_eq!(after.vector(), before.vector());
    }
    assert!(home.names("tmp").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_vector_of_a_loaded_embedder_moves_when_models_are_pulled() {
    let Some((hub, options, home)) = set_up().await else { return };
    pull(&home, &options).await.unwrap();
    let e5 = load(&home);
    let files = ModelFiles::open(&home.home, profile(), Precision::F32).unwrap();
    let (model, digest) = (std::fs::read(&files.model).unwrap(), files.model_sha256.clone());
    drop(files);
    let before = e5.encode_query("the quick brown fox").await.unwrap();
    for seed in 2..5 {
        put(&hub, seed, &tokenizer());
        pull(&home, &options).await.unwrap();
        let still = e5.encode_query("the quick brown fox").await.unwrap();
        assert_eq!(still.vector(), before.vector());
    }
    // The files that its workers open anew are still there, though three others came.
    let slot = home.home.model_slot(profile(), Precision::F32);
    let kept = slot.versions().unwrap().into_iter().find(|version| {
        let manifest = Manifest::read(&slot.version_dir(version)).unwrap().unwrap();
        manifest.file("model.onnx").unwrap().sha256 == digest
    });
    let kept = slot.version_dir(&kept.unwrap());
    assert!(std::fs::read(kept.join("model.onnx")).unwrap() == model);
    let other = load(&home);
    assert_ne!(other.model().variant(), e5.model().variant());
    assert_ne!(other.encode_query("the quick brown fox").await.unwrap().vector(), before.vector());
    drop(e5);
    pull(&home, &options).await.unwrap();
    assert!(!kept.exists(), "nobody reads it any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_with_a_broken_model_is_refused_and_the_old_one_stays() {
    let Some((hub, mut options, home)) = set_up().await else { return };
    let Some(there) = Home::new().with_runtime() else { return };
    pull(&there, &options).await.unwrap();
    put(&hub, 2, std::str::from_utf8(TOKENIZER).unwrap());
    options.repack = Arc::new(Untried(Repacker::of_shape(shape())));
    pull(&home, &options).await.unwrap();
    let asset = Asset::Model { profile: profile(), precision: Precision::F32 };
    let bundle = home.folder.path().join("bundle.zip");
    export(&home.home, &[asset], &bundle, &Ears::default()).await.unwrap();

    let before = load(&there).encode_query("the dog").await.unwrap();
    let error = import(&there.home, &bundle, &Ears::default()).await.unwrap_err();
    assert!(error.to_string().contains("can't embed a text"), "{error}");
    assert_eq!(load(&there).encode_query("the dog").await.unwrap().vector(), before.vector());
}

/// The digest of the model file stands for its weights in every variant; files that are put together by hand may lie.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_of_another_model_beside_a_graph_are_found() {
    let Some((hub, options, home)) = set_up().await else { return };
    pull(&home, &options).await.unwrap();
    let first = home.home.model_dir(profile(), Precision::F32);
    let data = std::fs::read(first.join("model.onnx_data")).unwrap();
    put(&hub, 2, &tokenizer());
    pull(&home, &options).await.unwrap();
    let folder = home.home.model_dir(profile(), Precision::F32);
    let slot = home.home.model_slot(profile(), Precision::F32);
    // As a release without versions would have them, which nothing but the manifest seals.
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), slot.root().join(entry.file_name())).unwrap();
    }
    std::fs::remove_file(slot.root().join("current.json")).unwrap();
    try_model(&home.home, profile(), Precision::F32, &Ears::default()).await.unwrap();
    std::fs::write(slot.root().join("model.onnx_data"), data).unwrap();
    let mut manifest = Manifest::read(slot.root()).unwrap().unwrap();
    for file in &mut manifest.files {
        *file = embed_encoder::assets::FileEntry::of(slot.root(), &file.name).unwrap();
    }
    std::fs::write(slot.root().join(MANIFEST_NAME), serde_json::to_vec(&manifest).unwrap()).unwrap();
    let error = try_model(&home.home, profile(), Precision::F32, &Ears::default()).await.unwrap_err();
    assert!(error.to_string().contains("not those that it was made with"), "{error}");
}
