//! From the hub to a model folder with the real writers, on tiny weights of the right names and width.

#![expect(clippy::unwrap_used, reason = "a test may die of what it doesn't expect")]

mod common;

use std::sync::Arc;

use common::{Ears, Home, TOKENIZER, Untried, options, profile};
use embed_assets::{PullOptions, Repacker, pull_model};
use embed_core::ErrorKind;
use embed_encoder::assets::{MODEL_FILE, Manifest, ModelFiles, RECIPE};
use embed_encoder::{Precision, Shape};
use embed_testkit::hub::{HubDouble, Place};
use safetensors::tensor::{Dtype, TensorView, serialize};

const FEED_FORWARD: usize = 64;
const VOCABULARY: usize = 12;
const POSITIONS: usize = 8;

fn config(hidden: usize) -> String {
    format!(
        r#"{{"model_type":"bert","hidden_size":{hidden},"num_hidden_layers":1,"num_attention_heads":12,
        "intermediate_size":{FEED_FORWARD},"vocab_size":{VOCABULARY},"max_position_embeddings":{POSITIONS},
        "type_vocab_size":2,"layer_norm_eps":1e-12,"hidden_act":"gelu","pad_token_id":0}}"#
    )
}

fn weights(hidden: usize) -> Vec<u8> {
    let layer = "encoder.layer.0";
    let mut shapes = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![VOCABULARY, hidden]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![POSITIONS, hidden]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, hidden]),
    ];
    for norm in ["embeddings".to_owned(), format!("{layer}.attention.output"), format!("{layer}.output")] {
        shapes.push((format!("{norm}.LayerNorm.weight"), vec![hidden]));
        shapes.push((format!("{norm}.LayerNorm.bias"), vec![hidden]));
    }
    for (name, outputs, inputs) in [
        ("attention.self.query", hidden, hidden),
        ("attention.self.key", hidden, hidden),
        ("attention.self.value", hidden, hidden),
        ("attention.output.dense", hidden, hidden),
        ("intermediate.dense", FEED_FORWARD, hidden),
        ("output.dense", hidden, FEED_FORWARD),
    ] {
        shapes.push((format!("{layer}.{name}.weight"), vec![outputs, inputs]));
        shapes.push((format!("{layer}.{name}.bias"), vec![outputs]));
    }
    let tensors: Vec<_> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let data: Vec<u8> =
                (0..count).flat_map(|i| ((i % 13) as f32 / 13.0 - 0.5).to_le_bytes()).collect();
            (name, shape, data)
        })
        .collect();
    let views = tensors
        .iter()
        .map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    serialize(views, None).unwrap()
}

async fn hub(hidden: usize) -> (HubDouble, PullOptions) {
    let hub = HubDouble::start().await;
    let (repository, revision) = (profile().repository, profile().revision);
    hub.put(repository, revision, "config.json", config(hidden));
    hub.put(repository, revision, "tokenizer.json", TOKENIZER);
    hub.put_large(repository, revision, "model.safetensors", weights(hidden));
    let mut options = options(hub.endpoint());
    let tiny = Shape::new(1, 12, FEED_FORWARD).with_vocabulary(VOCABULARY).with_positions(POSITIONS);
    options.repack = Arc::new(Untried(Repacker::of_shape(tiny)));
    (hub, options)
}

#[tokio::test]
async fn both_precisions_are_made_of_one_download() {
    let ((hub, mut options), home) = (hub(384).await, Home::new());
    for (precision, keep) in [(Precision::Int8, true), (Precision::F32, false)] {
        options.keep_downloads = keep;
        pull_model(&home.home, profile(), precision, &options, &Ears::default()).await.unwrap();
        ModelFiles::open(&home.home, profile(), precision).unwrap();
        let manifest = Manifest::read(&home.home.model_dir(profile(), precision)).unwrap().unwrap();
        let names: Vec<_> = manifest.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, [MODEL_FILE, "model.onnx_data", "profile.json", "tokenizer.json"]);
    }
    assert_eq!(hub.requests_for(Place::Store, "model.safetensors").len(), 1);
    assert!(home.names("downloads").is_empty() && home.names("tmp").is_empty());
}

#[tokio::test]
async fn what_another_recipe_made_is_made_anew() {
    let ((hub, options), home) = (hub(384).await, Home::new());
    let pull = || async {
        pull_model(&home.home, profile(), Precision::Int8, &options, &Ears::default()).await.unwrap();
        hub.requests_for(Place::Store, "model.safetensors").len()
    };
    assert_eq!(pull().await, 1);
    assert_eq!(pull().await, 1);
    let path = home.model().join("manifest.json");
    let manifest = std::fs::read_to_string(&path).unwrap();
    let now = format!("\"recipe\": {RECIPE}");
    assert!(manifest.contains(&now));
    home.flatten();
    let path = home.model().join("manifest.json");
    std::fs::write(&path, manifest.replace(&now, "\"recipe\": 0")).unwrap();
    assert_eq!(pull().await, 2);
    // A newer one isn't loaded, and is made anew.
    home.flatten();
    std::fs::write(&path, manifest.replace(&now, "\"recipe\": 1000")).unwrap();
    let error = ModelFiles::open(&home.home, profile(), Precision::Int8).unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
    assert_eq!(pull().await, 3);
}

/// What a cache of somebody else may hold: the right width, the right name, one layer and twelve words.
#[tokio::test]
async fn a_model_of_another_size_under_a_known_name_is_refused() {
    let ((_hub, mut options), home) = (hub(384).await, Home::new());
    options.repack = Arc::new(Repacker::default());
    let pulled = pull_model(&home.home, profile(), Precision::Int8, &options, &Ears::default()).await;
    let error = pulled.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    for part in ["another model than e5-small-v2", "layers", "12", "hub's cache"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    assert!(!home.model().exists());
}

/// The mode of a file in a cache is its owner's business: the copy gets the one that any new file gets.
#[cfg(unix)]
#[tokio::test]
async fn the_bytes_of_a_file_are_copied_and_not_its_mode() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for owners in [0o444, 0o600, 0o400] {
        let ((_hub, mut options), home) = (hub(384).await, Home::new());
        let cache = home.folder.path().join("cache");
        let repository = cache.join(format!("models--{}", profile().repository.replace('/', "--")));
        let snapshot = repository.join("snapshots").join(profile().revision);
        std::fs::create_dir_all(&snapshot).unwrap();
        let blob = repository.join(embed_testkit::hub::git_blob(TOKENIZER));
        std::fs::write(&blob, TOKENIZER).unwrap();
        std::fs::set_permissions(&blob, std::fs::Permissions::from_mode(owners)).unwrap();
        symlink(&blob, snapshot.join("tokenizer.json")).unwrap();
        options.hub.cache = Some(cache);
        let ears = Ears::default();
        pull_model(&home.home, profile(), Precision::Int8, &options, &ears).await.unwrap();
        assert!(ears.heard("Taking tokenizer.json from the hub's cache"));
        let beside = home.folder.path().join("beside");
        std::fs::write(&beside, "new").unwrap();
        assert_eq!(mode(&home.model().join("tokenizer.json")), mode(&beside), "{owners:o}");
    }
}

#[tokio::test]
async fn weights_of_another_model_are_refused() {
    let ((_hub, options), home) = (hub(96).await, Home::new());
    let pulled = pull_model(&home.home, profile(), Precision::Int8, &options, &Ears::default()).await;
    let error = pulled.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("another model"), "{error}");
    assert!(!home.model().exists());
}
