//! Models that are tried before they are put in place: tiny ones that work, and ones that don't.

#![expect(clippy::unwrap_used, reason = "a test may die of what it doesn't expect")]

mod common;

use std::num::NonZeroUsize;
use std::sync::Arc;

use common::{Ears, Home, TOKENIZER, Untried, options, profile};
use embed_assets::{Asset, PullOptions, Repacker, export, import, pull_model, try_model};
use embed_core::{Embedder, EmbedderExt, ErrorKind};
use embed_e5::assets::{MANIFEST_NAME, Manifest, ModelFiles};
use embed_e5::{E5Config, E5Embedder, Precision, Shape};
use embed_testkit::hub::HubDouble;
use safetensors::tensor::{Dtype, TensorView, serialize};

const HIDDEN: usize = 384;
const WIDE: usize = 64;
const POSITIONS: usize = 512;
const WORDS: [&str; 16] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "query", "passage", ":", "the", "quick", "brown", "fox",
    "dog", "a", "b", "word",
];

fn shape() -> Shape {
    Shape::new(1, 12, WIDE).with_vocabulary(WORDS.len())
}

fn config() -> String {
    serde_json::json!({
        "model_type": "bert", "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": 12,
        "intermediate_size": WIDE, "vocab_size": WORDS.len(), "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "pad_token_id": 0,
    })
    .to_string()
}

fn tokenizer() -> String {
    let special = |id: usize| {
        serde_json::json!({
            "id": id, "content": WORDS[id], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let vocabulary: serde_json::Map<_, _> =
        WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": (0..5).map(special).collect::<Vec<_>>(),
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
            },
        },
        "decoder": null,
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    })
    .to_string()
}

fn weights(seed: u32) -> Vec<u8> {
    let layer = "encoder.layer.0";
    let mut tensors = Vec::new();
    let mut state = seed;
    let mut noise = |name: String, shape: &[usize]| {
        let count: usize = shape.iter().product();
        let number = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) as f32 / 65_536.0 - 0.5) * 0.2
        };
        let data: Vec<u8> = (0..count).map(number).flat_map(f32::to_le_bytes).collect();
        tensors.push((name, shape.to_vec(), data));
    };
    for (name, rows) in [("word", WORDS.len()), ("position", POSITIONS), ("token_type", 2)] {
        noise(format!("embeddings.{name}_embeddings.weight"), &[rows, HIDDEN]);
    }
    for (name, outputs, inputs) in [
        ("attention.self.query", HIDDEN, HIDDEN),
        ("attention.self.key", HIDDEN, HIDDEN),
        ("attention.self.value", HIDDEN, HIDDEN),
        ("attention.output.dense", HIDDEN, HIDDEN),
        ("intermediate.dense", WIDE, HIDDEN),
        ("output.dense", HIDDEN, WIDE),
    ] {
        noise(format!("{layer}.{name}.weight"), &[outputs, inputs]);
        noise(format!("{layer}.{name}.bias"), &[outputs]);
    }
    for norm in ["embeddings".to_owned(), format!("{layer}.attention.output"), format!("{layer}.output")] {
        let ones: Vec<u8> = (0..HIDDEN).flat_map(|_| 1.0_f32.to_le_bytes()).collect();
        tensors.push((format!("{norm}.LayerNorm.weight"), vec![HIDDEN], ones));
        tensors.push((format!("{norm}.LayerNorm.bias"), vec![HIDDEN], vec![0; HIDDEN * 4]));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    serialize(views, None).unwrap()
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
    hub.put(repository, revision, "config.json", config());
    hub.put(repository, revision, "tokenizer.json", tokenizer.to_owned());
    hub.put_large(repository, revision, "model.safetensors", weights(seed));
}

async fn pull(home: &Home, options: &PullOptions) -> Result<(), embed_core::Error> {
    pull_model(&home.home, profile(), Precision::F32, options, &Ears::default()).await.map(drop)
}

fn load(home: &Home) -> E5Embedder {
    let config = E5Config::default().with_home(home.home.clone()).with_profile(profile());
    let config = config.with_precision(Precision::F32).with_threads(NonZeroUsize::MIN);
    E5Embedder::load_blocking(config).unwrap()
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
        *file = embed_e5::assets::FileEntry::of(slot.root(), &file.name).unwrap();
    }
    std::fs::write(slot.root().join(MANIFEST_NAME), serde_json::to_vec(&manifest).unwrap()).unwrap();
    let error = try_model(&home.home, profile(), Precision::F32, &Ears::default()).await.unwrap_err();
    assert!(error.to_string().contains("not those that it was made with"), "{error}");
}
