//! Models that a configuration declares: what their files say, in a folder or a repository, and what is refused.

#![expect(clippy::unwrap_used, reason = "a test may die of what it doesn't expect")]

mod common;

use std::fs;

use common::Ears;
use common::declared::{
    BERT, COMMIT, NETWORK, NORMALISE, POOLING, Setting, TEXTS, XLMR, declared, modules, pooling,
};
use common::tiny::{Tiny, WORDS, tokenizer};
use embed_assets::{Asset, Pulled, SourceChoice, roll_back};
use embed_core::{Embedder, ErrorKind, Normalisation, Pooling, PrefixScheme, Role};
use embed_encoder::assets::{PROFILE_FILE, Source};
use embed_encoder::{CustomModel, CustomSource, Precision, Shape};
use embed_testkit::hub::{HubDouble, Place};
use serde_json::{Value, json};

#[tokio::test]
async fn a_folder_of_sentence_transformers_says_everything() {
    let Some(setting) = Setting::new() else { return };
    BERT.save(&setting.source, 5);
    setting.put("modules.json", &modules(&[NETWORK, POOLING, NORMALISE]));
    setting.put("1_Pooling/config.json", &pooling("cls_token"));
    setting.put("sentence_bert_config.json", &json!({"max_seq_length": 16, "do_lower_case": false}));
    setting.put(
        "config_sentence_transformers.json",
        &json!({"prompts": {"query": "query: ", "passage": "passage : "}, "default_prompt_name": null}),
    );
    let model = setting.model();
    let error = model.profile(&setting.home.home, Precision::F32).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
    assert!(error.to_string().contains("embed models pull tiny --precision f32"), "{error}");

    let pulled = setting.pull(&model, Precision::F32).await.unwrap();
    assert!(matches!(&pulled, Pulled::Fetched(manifest) if matches!(manifest.source, Source::Folder { .. })));
    assert!(pulled.manifest().file(PROFILE_FILE).is_some());
    let profile = model.profile(&setting.home.home, Precision::F32).unwrap();
    assert!(std::ptr::eq(profile, model.profile(&setting.home.home, Precision::F32).unwrap()));
    assert_eq!((profile.dimension, profile.max_tokens, profile.pooling), (128, 16, Pooling::Cls));
    assert_eq!((profile.prompts.query, profile.prompts.document), ("query: ", "passage : "));
    let shape = Shape::new(2, 4, 96).with_vocabulary(WORDS.len()).with_positions(40);
    assert_eq!((profile.shape, profile.normalisation), (shape, Normalisation::L2));
    assert!(!profile.multilingual && !profile.calibrated);
    assert_eq!(profile.precision_label(Precision::Int8), "int8-not-calibrated");

    let encoder = setting.load(&model, Precision::F32).await;
    BERT.agrees(&encoder, profile, 5, &TEXTS, 0.999_999).await;
    assert_eq!(encoder.model().max_tokens(), Some(16));
    let tokens = encoder.tokenise("fox", Role::Document).unwrap();
    let tokens: Vec<&str> = tokens.iter().map(|token| token.piece.as_str()).collect();
    assert_eq!(tokens, ["[CLS]", "passage", ":", "fox", "[SEP]"]);
}

#[tokio::test]
async fn without_a_step_that_normalises_vectors_keep_their_length() {
    let Some(setting) = Setting::new() else { return };
    XLMR.save(&setting.source, 6);
    setting.put("modules.json", &modules(&[NETWORK, POOLING]));
    // As newer releases write it.
    setting.put("1_Pooling/config.json", &json!({"embedding_dimension": 128, "pooling_mode": "mean"}));
    let model = setting.model();
    setting.pull(&model, Precision::F32).await.unwrap();
    let profile = model.profile(&setting.home.home, Precision::F32).unwrap();
    assert_eq!((profile.pooling, profile.normalisation), (Pooling::Mean, Normalisation::None));
    assert_eq!((profile.max_tokens, profile.shape.positions), (40, 40));
    assert_eq!(profile.space().id(), "tiny/mean/plain/raw/128");
    let encoder = setting.load(&model, Precision::F32).await;
    XLMR.agrees(&encoder, profile, 6, &TEXTS, 0.999_999).await;
}

#[tokio::test]
async fn what_is_declared_wins_over_the_files() {
    let Some(setting) = Setting::new() else { return };
    BERT.save(&setting.source, 7);
    setting.put("modules.json", &modules(&[NETWORK, POOLING, NORMALISE]));
    setting.put("1_Pooling/config.json", &pooling("max_tokens"));
    setting.put("sentence_bert_config.json", &json!({"max_seq_length": 512}));
    setting.put("config_sentence_transformers.json", &json!({"prompts": {"query": "query: "}}));
    let model = setting
        .model()
        .with_dimension(128)
        .with_pooling(Pooling::Cls)
        .with_normalisation(Normalisation::None)
        .with_prompts("", "passage: ")
        .with_space("everybodys-tiny")
        .with_multilingual(true);
    setting.pull(&model, Precision::F32).await.unwrap();
    let profile = model.profile(&setting.home.home, Precision::F32).unwrap();
    assert_eq!((profile.pooling, profile.normalisation), (Pooling::Cls, Normalisation::None));
    assert_eq!((profile.prompts.query, profile.prompts.document), ("", "passage: "));
    // No more than there are positions.
    assert!(profile.multilingual && profile.max_tokens == 40);
    let space = profile.space();
    assert_eq!((space.model(), space.pooling()), ("everybodys-tiny", Pooling::Cls));
    assert!(matches!(space.prefixes(), PrefixScheme::Other(_)));
    BERT.agrees(&setting.load(&model, Precision::F32).await, profile, 7, &TEXTS, 0.999_999).await;

    for (other, part) in [
        (setting.model().with_pooling(Pooling::Mean), "pooling"),
        (setting.model().with_normalisation(Normalisation::L2), "normalisation"),
        (setting.model().with_prompts("query: ", ""), "prompts"),
        (setting.model().with_max_tokens(16), "max_tokens"),
        (setting.model().with_dimension(384), "dimension"),
        (setting.model().with_space("tiny"), "space"),
        (setting.model().with_multilingual(false), "multilingual"),
        (declared("tiny", COMMIT), "source"),
    ] {
        let error = other.profile(&setting.home.home, Precision::F32).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        let what = format!("with another {part} than the configuration declares");
        assert!(text.contains(&what) && text.contains("embed models pull tiny --precision f32"), "{text}");
    }
    // The fix that the error names works.
    let other = setting.model().with_pooling(Pooling::Mean);
    assert!(matches!(setting.pull(&other, Precision::F32).await.unwrap(), Pulled::Fetched(_)));
    assert_eq!(other.profile(&setting.home.home, Precision::F32).unwrap().pooling, Pooling::Mean);
}

#[tokio::test]
async fn a_repository_of_the_hub_at_a_commit() {
    let Some(mut setting) = Setting::new() else { return };
    let hub = HubDouble::start().await;
    setting.options.hub.endpoint = hub.endpoint();
    let publish = |commit: &str, seed: u32, limit: usize| {
        hub.put("somebody/tiny", commit, "config.json", BERT.config());
        hub.put("somebody/tiny", commit, "tokenizer.json", tokenizer());
        hub.put_large("somebody/tiny", commit, "model.safetensors", BERT.weights(seed));
        hub.put("somebody/tiny", commit, "1_Pooling/config.json", pooling("mean_tokens").to_string());
        hub.put(
            "somebody/tiny",
            commit,
            "sentence_bert_config.json",
            json!({"max_seq_length": limit}).to_string(),
        );
    };
    publish(COMMIT, 8, 20);
    let model = declared("tiny", COMMIT);
    // Neither modules.json nor prompts are there.
    setting.pull(&model, Precision::F32).await.unwrap();
    let profile = model.profile(&setting.home.home, Precision::F32).unwrap();
    assert_eq!((profile.repository, profile.revision), ("somebody/tiny", COMMIT));
    assert_eq!((profile.max_tokens, profile.normalisation), (20, Normalisation::L2));
    BERT.agrees(&setting.load(&model, Precision::F32).await, profile, 8, &TEXTS, 0.999_999).await;

    let asked = hub.requests().len();
    assert!(matches!(setting.pull(&model, Precision::F32).await.unwrap(), Pulled::AlreadyThere(_)));
    assert_eq!(hub.requests().len(), asked, "what is there isn't asked for");

    let newer = "f".repeat(40);
    publish(&newer, 9, 24);
    let newer = declared("tiny", &newer);
    let error = newer.profile(&setting.home.home, Precision::F32).unwrap_err();
    assert!(error.to_string().contains("another source"), "{error}");
    setting.pull(&newer, Precision::F32).await.unwrap();
    let profile = newer.profile(&setting.home.home, Precision::F32).unwrap();
    assert_eq!(profile.max_tokens, 24);

    // Back to the version before, which its declaration of today may serve until it is pulled by force.
    let asset = Asset::named(&setting.home.home, "tiny", Precision::F32).unwrap();
    roll_back(&setting.home.home, asset, &Ears::default()).await.unwrap();
    assert_eq!(newer.profile(&setting.home.home, Precision::F32).unwrap().revision, COMMIT);
    assert!(matches!(setting.pull(&newer, Precision::F32).await.unwrap(), Pulled::AlreadyThere(_)));
    setting.options.force = true;
    setting.pull(&newer, Precision::F32).await.unwrap();
    assert_eq!(newer.profile(&setting.home.home, Precision::F32).unwrap().revision, "f".repeat(40));
}

#[tokio::test]
async fn files_that_come_with_other_bytes_than_the_hub_announces_are_not_used() {
    let mut setting = Setting::without_library();
    let hub = HubDouble::start().await;
    setting.options.hub.endpoint = hub.endpoint();
    hub.put("somebody/tiny", COMMIT, "config.json", BERT.config());
    hub.put("somebody/tiny", COMMIT, "tokenizer.json", tokenizer());
    hub.put("somebody/tiny", COMMIT, "modules.json", modules(&[NETWORK, POOLING]).to_string());
    let wrong = || embed_testkit::hub::Fault::WrongBytes;
    hub.script(Place::Hub, "modules.json", [wrong(), wrong()]);
    let error = setting.refused(&declared("tiny", COMMIT)).await;
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains("modules.json came with other bytes"), "{error}");

    // Without a network nobody knows whether a file that the cache lacks is one that the repository lacks.
    setting.options.hub.offline = true;
    let cache = setting.home.folder.path().join("cache");
    setting.options.hub.cache = Some(cache.clone());
    let root = cache.join("models--somebody--tiny");
    let snapshot = root.join("snapshots").join(COMMIT);
    for (name, bytes) in [("config.json", BERT.config()), ("tokenizer.json", tokenizer())] {
        let blob = root.join(embed_testkit::hub::git_blob(bytes.as_bytes()));
        fs::create_dir_all(&snapshot).unwrap();
        fs::write(&blob, bytes).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&blob, snapshot.join(name)).unwrap();
    }
    let error = setting.refused(&declared("tiny", COMMIT)).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let text = error.to_string();
    assert!(text.contains("modules.json") && text.contains("folder of the snapshot"), "{text}");
    let absent = root.join(".no_exist").join(COMMIT);
    fs::create_dir_all(absent.join("1_Pooling")).unwrap();
    for name in [
        "modules.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
    ] {
        fs::write(absent.join(name), "").unwrap();
    }
    let error = setting.refused(&declared("tiny", COMMIT)).await;
    assert!(error.to_string().contains("pooling = \"mean\""), "{error}");
}

#[tokio::test]
async fn nobody_guesses_a_pooling() {
    let Some(setting) = Setting::new() else { return };
    BERT.save(&setting.source, 3);
    let error = setting.refused(&setting.model()).await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("add pooling = \"mean\" or pooling = \"cls\""), "{error}");
    let model = setting.model().with_pooling(Pooling::Mean);
    setting.pull(&model, Precision::F32).await.unwrap();
    let profile = model.profile(&setting.home.home, Precision::F32).unwrap();
    assert_eq!(profile.space().id(), "tiny/mean/plain/l2/128");
}

/// Each is a change of a good folder, and what the error has to say.
#[tokio::test]
async fn models_that_this_program_does_not_run_are_refused() {
    let setting = Setting::without_library();
    let config = |change: Value| {
        let mut config: Value = serde_json::from_str(&BERT.config()).unwrap();
        config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        ("config.json", config)
    };
    let tokenizer = |pointer: &str, value: Value| {
        let mut json: Value = serde_json::from_str(&tokenizer()).unwrap();
        *json.pointer_mut(pointer).unwrap() = value;
        json
    };
    let dense = modules(&[NETWORK, POOLING, ("Dense", "2_Dense"), NORMALISE]);
    let unprompted = json!({"pooling_mode_mean_tokens": true, "include_prompt": false});
    let bad: Vec<((&str, Value), &str)> = vec![
        (config(json!({"model_type": "distilbert"})), "runs bert and xlm-roberta"),
        (config(json!({"model_type": "mpnet"})), "runs bert and xlm-roberta"),
        (config(json!({"model_type": "xlm-roberta-xl"})), "runs bert and xlm-roberta"),
        (("config.json", json!({"model_type": "t5", "d_model": 512})), "runs bert and xlm-roberta"),
        (config(json!({"position_embedding_type": "relative_key"})), "absolute ones"),
        (config(json!({"position_embedding_type": "alibi"})), "absolute ones"),
        (config(json!({"hidden_act": "gelu_new"})), "it runs gelu"),
        (config(json!({"is_decoder": true})), "is a decoder"),
        (config(json!({"auto_map": {"AutoModel": "modeling.New"}})), "its own code"),
        (config(json!({"num_attention_heads": 3})), "heads don't divide"),
        (
            config(json!({"num_attention_heads": 8})),
            "head has 16 channels; this program runs multiples of 32",
        ),
        (config(json!({"intermediate_size": 100})), "has 100 channels"),
        (("1_Pooling/config.json", pooling("max_tokens")), "the mean and the first token"),
        (("1_Pooling/config.json", pooling("lasttoken")), "the mean and the first token"),
        (("1_Pooling/config.json", json!({"pooling_mode": "lasttoken"})), "the mean and the first token"),
        (("1_Pooling/config.json", pooling("none of them")), "pooling = \"mean\""),
        (("1_Pooling/config.json", unprompted), "leaves out the prompt"),
        (("modules.json", dense), "steps besides"),
        (("modules.json", modules(&[("Transformer", "0_Transformer"), POOLING])), "other folders"),
        (("modules.json", json!({"no": "list"})), "modules.json isn't what"),
        (("tokenizer.json", tokenizer("/model/type", "BPE".into())), "WordPiece and Unigram"),
        (("sentence_bert_config.json", json!({"max_seq_length": 0})), "more than 0"),
        (
            ("config_sentence_transformers.json", json!({"prompts": {"query": "query:"}})),
            "must end with a space",
        ),
    ];
    for ((name, content), part) in bad {
        let _ = fs::remove_dir_all(&setting.source);
        BERT.save(&setting.source, 1);
        setting.put("1_Pooling/config.json", &pooling("mean_tokens"));
        setting.put(name, &content);
        let error = setting.refused(&setting.model()).await;
        assert!(error.to_string().contains(part), "{name} {content}: {error}");
        assert!(matches!(error.kind(), ErrorKind::Protocol | ErrorKind::Config), "{error:?}");
    }
    let _ = fs::remove_dir_all(&setting.source);
    BERT.save(&setting.source, 1);
    setting.put("1_Pooling/config.json", &pooling("mean_tokens"));
    setting.put("sentence_bert_config.json", &json!({"do_lower_case": true}));
    setting.put("tokenizer.json", &tokenizer("/normalizer/lowercase", false.into()));
    let error = setting.refused(&setting.model()).await;
    assert!(error.to_string().contains("lower case"), "{error}");
    // What the declaration gets wrong.
    BERT.save(&setting.source, 1);
    fs::remove_file(setting.source.join("sentence_bert_config.json")).unwrap();
    for (model, part) in [
        (setting.model().with_dimension(384), "has 128 numbers in a vector"),
        (setting.model().with_max_tokens(41), "has 40 positions"),
        (CustomModel::new("tiny", CustomSource::Folder("nowhere".into())), "no such folder"),
    ] {
        let error = setting.refused(&model).await;
        assert!(error.to_string().contains(part), "{error}");
    }
    fs::remove_file(setting.source.join("model.safetensors")).unwrap();
    let error = setting.refused(&setting.model()).await;
    assert!(error.to_string().contains("has no model.safetensors"), "{error}");
    assert!(setting.home.names("models").is_empty());
}

#[tokio::test]
async fn weights_that_do_not_fit_their_configuration_are_refused() {
    let Some(setting) = Setting::new() else { return };
    for (weights, part) in [
        (Tiny { layers: 3, ..BERT }, "more layers"),
        (Tiny { layers: 1, ..BERT }, "tensor is missing"),
        (Tiny { wide: 64, ..BERT }, "another size"),
        (Tiny { positions: 50, ..BERT }, "another size"),
    ] {
        BERT.save(&setting.source, 1);
        fs::write(setting.source.join("model.safetensors"), weights.weights(1)).unwrap();
        let error = setting.refused(&setting.model().with_pooling(Pooling::Mean)).await;
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// Folders of earlier releases have no profile; the table says what they are.
/// The heads and the width of the base size of BERT.
#[tokio::test]
async fn the_wheel_has_no_declared_model() {
    let mut setting = Setting::without_library();
    setting.options.source = SourceChoice::Wheel;
    let error = setting.refused(&setting.model()).await;
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
}
