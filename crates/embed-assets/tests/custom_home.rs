//! Declared models in the data folder: pulled again, loaded without a table, listed, carried over, and run in int8.

#![expect(clippy::unwrap_used, reason = "a test may die of what it doesn't expect")]

mod common;

use std::fs;
use std::num::NonZeroUsize;

use common::declared::{BERT, Setting, TEXTS};
use common::tiny::Tiny;
use common::{Ears, Home, options};
use embed_assets::{
    Asset, AssetState, Pulled, SourceChoice, export, import, list, pull_custom, roll_back, verify,
};
use embed_core::{EmbedRequest, Embedder, ErrorKind, Pooling, Role};
use embed_encoder::assets::{MANIFEST_NAME, Manifest, ModelFiles, PROFILE_FILE, Source};
use embed_encoder::{CustomModel, CustomSource, Encoder, EncoderConfig, Precision, Profile};
use serde_json::json;

#[tokio::test]
async fn a_folder_that_changed_is_read_again_and_one_that_is_gone_is_not_missed() {
    let Some(setting) = Setting::new() else { return };
    BERT.save(&setting.source, 1);
    let model = setting.model().with_pooling(Pooling::Mean);
    setting.pull(&model, Precision::F32).await.unwrap();
    assert!(matches!(setting.pull(&model, Precision::F32).await.unwrap(), Pulled::AlreadyThere(_)));
    let before = model.profile(&setting.home.home, Precision::F32).unwrap();
    BERT.save(&setting.source, 2);
    assert!(matches!(setting.pull(&model, Precision::F32).await.unwrap(), Pulled::Fetched(_)));
    let after = model.profile(&setting.home.home, Precision::F32).unwrap();
    assert_ne!(before.revision, after.revision);
    BERT.agrees(&setting.load(&model, Precision::F32).await, after, 2, &TEXTS, 0.999_999).await;
    // It also counts what says what the model is.
    setting.put("sentence_bert_config.json", &json!({"max_seq_length": 12}));
    assert!(matches!(setting.pull(&model, Precision::F32).await.unwrap(), Pulled::Fetched(_)));
    assert_eq!(model.profile(&setting.home.home, Precision::F32).unwrap().max_tokens, 12);
    fs::remove_dir_all(&setting.source).unwrap();
    assert!(matches!(setting.pull(&model, Precision::F32).await.unwrap(), Pulled::AlreadyThere(_)));
}

#[tokio::test]
async fn a_declaration_of_a_built_in_model_is_that_model() {
    let setting = Setting::without_library();
    let built_in = Profile::by_name("e5-small-v2").unwrap();
    let source = || CustomSource::Hub {
        repository: built_in.repository.to_owned(),
        revision: built_in.revision.to_owned(),
    };
    let model = CustomModel::new("e5-small-v2", source());
    assert_eq!(model.check().unwrap(), Some(built_in));
    let hub = common::hub().await;
    let mut options = options(hub.endpoint());
    options.source = SourceChoice::Auto;
    let home = &setting.home.home;
    pull_custom(home, &model, Precision::Int8, &options, &Ears::default()).await.unwrap();
    assert!(std::ptr::eq(model.profile(home, Precision::Int8).unwrap(), built_in));
    let error = model.with_pooling(Pooling::Cls).check().unwrap_err();
    assert!(error.to_string().contains("is built in with another pooling"), "{error}");
}

#[tokio::test]
async fn a_sealed_folder_is_loaded_without_a_table() {
    let Some(setting) = Setting::new() else { return };
    BERT.save(&setting.source, 4);
    let model = setting.model().with_pooling(Pooling::Cls).with_max_tokens(20);
    setting.pull(&model, Precision::F32).await.unwrap();
    let slot = setting.home.home.root().join("models/tiny/f32");
    let version = slot.join(
        fs::read_dir(&slot)
            .unwrap()
            .find_map(|entry| {
                let entry = entry.unwrap();
                entry.path().is_dir().then(|| entry.file_name())
            })
            .unwrap(),
    );
    let copy = setting.home.folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(&version).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    for folder in [&slot, &version, &copy] {
        let config = EncoderConfig::from_folder(folder).unwrap().with_home(setting.home.home.clone());
        assert_eq!((config.profile.max_tokens, config.precision), (20, Precision::F32));
        let encoder = Encoder::load(config.with_threads(NonZeroUsize::MIN)).await.unwrap();
        assert_eq!(encoder.model().space().id(), "tiny/cls/plain/l2/128");
        BERT.agrees(
            &encoder,
            model.profile(&setting.home.home, Precision::F32).unwrap(),
            4,
            &TEXTS,
            0.999_999,
        )
        .await;
    }
    // A config for this folder doesn't load what another pull put there.
    let config = EncoderConfig::from_folder(&slot).unwrap().with_home(setting.home.home.clone());
    setting.pull(&setting.model().with_pooling(Pooling::Mean), Precision::F32).await.unwrap();
    let error = Encoder::load(config).await.unwrap_err();
    assert!(error.to_string().contains("was made for a model with another pooling"), "{error}");
    let error = EncoderConfig::from_folder(&setting.source).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
    let profile = copy.join(PROFILE_FILE);
    let text = fs::read_to_string(&profile).unwrap().replace("\"cls\"", "\"mean\"");
    fs::write(&profile, text).unwrap();
    let error = EncoderConfig::from_folder(&copy).unwrap_err();
    assert!(error.to_string().contains("profile.json is"), "{error}");
}

#[tokio::test]
async fn a_built_in_model_without_a_profile_stays_valid_and_one_with_another_is_refused() {
    let (hub, home) = (common::hub().await, Home::new());
    let options = options(hub.endpoint());
    common::pull(&home, &options).await.unwrap();
    home.flatten();
    let folder = home.model();
    let edit = |change: &dyn Fn(&mut Manifest)| {
        let mut manifest = Manifest::read(&folder).unwrap().unwrap();
        change(&mut manifest);
        fs::write(folder.join(MANIFEST_NAME), serde_json::to_vec(&manifest).unwrap()).unwrap();
    };
    let profile = folder.join(PROFILE_FILE);
    let text = fs::read_to_string(&profile).unwrap();
    fs::write(&profile, text.replace("\"max_tokens\": 512", "\"max_tokens\": 128")).unwrap();
    let entry = embed_encoder::assets::FileEntry::of(&folder, PROFILE_FILE).unwrap();
    edit(&|manifest| {
        manifest
            .files
            .iter_mut()
            .filter(|file| file.name == PROFILE_FILE)
            .for_each(|file| *file = entry.clone());
    });
    let error = ModelFiles::find(&home.home, common::profile(), Precision::Int8).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("with another limit of tokens"), "{error}");
    assert!(error.to_string().contains("embed models pull e5-small-v2 --precision int8"), "{error}");

    fs::remove_file(&profile).unwrap();
    edit(&|manifest| manifest.files.retain(|file| file.name != PROFILE_FILE));
    ModelFiles::open(&home.home, common::profile(), Precision::Int8).unwrap();
    assert_eq!(EncoderConfig::from_folder(&folder).unwrap().profile, common::profile());
    assert!(matches!(common::pull(&home, &options).await.unwrap(), Pulled::AlreadyThere(_)));
}

#[tokio::test]
async fn every_command_knows_the_models_of_the_data_folder() {
    let Some(setting) = Setting::new() else { return };
    let home = &setting.home.home;
    BERT.save(&setting.source, 1);
    let model = setting.model().with_pooling(Pooling::Mean);
    setting.pull(&model, Precision::F32).await.unwrap();
    let asset = Asset::named(home, "tiny", Precision::F32).unwrap();
    assert_eq!(asset.to_string(), "tiny f32");
    assert!(Asset::all_in(home).contains(&asset) && !Asset::all().contains(&asset));
    assert_eq!(Asset::all_in(home).len(), Asset::all().len() + 1);
    let state = |name: &str| {
        let listed = list(home).into_iter().find(|listed| listed.asset.to_string() == name);
        listed.map(|listed| listed.state)
    };
    let Some(AssetState::Present { source: Source::Folder { .. }, .. }) = state("tiny f32") else {
        panic!("{:?}", state("tiny f32"))
    };
    let verified = verify(home, &[asset], &Ears::default()).await.unwrap();
    assert!(verified.len() == 4 && verified.iter().all(|file| file.outcome.is_ok()), "{verified:?}");
    // What one precision is, another one would be.
    let int8 = Asset::named(home, "tiny", Precision::Int8).unwrap();
    assert!(verify(home, &[int8], &Ears::default()).await.unwrap().is_empty());
    assert_eq!(Asset::named(home, "small", Precision::F32).unwrap_err().kind(), ErrorKind::ModelNotFound);

    let bundle = setting.home.folder.path().join("bundle.zip");
    export(home, &[asset], &bundle, &Ears::default()).await.unwrap();
    let other = Setting::new().unwrap();
    assert_eq!(import(&other.home.home, &bundle, &Ears::default()).await.unwrap(), [asset]);
    assert_eq!(
        model.profile(&other.home.home, Precision::F32).unwrap(),
        model.profile(home, Precision::F32).unwrap()
    );
    BERT.save(&setting.source, 2);
    setting.pull(&model, Precision::F32).await.unwrap();
    let asset = Asset::named(home, "tiny", Precision::F32).unwrap();
    roll_back(home, asset, &Ears::default()).await.unwrap();
    let profile = model.profile(home, Precision::F32).unwrap();
    BERT.agrees(&setting.load(&model, Precision::F32).await, profile, 1, &TEXTS, 0.999_999).await;

    let slot = home.model_slot(profile, Precision::F32);
    fs::write(slot.folder().join(PROFILE_FILE), "{").unwrap();
    assert!(matches!(state("tiny f32"), Some(AssetState::Damaged(_))));
    let damaged = Asset::named(home, "tiny", Precision::F32).unwrap();
    let verified = verify(home, &[damaged], &Ears::default()).await.unwrap();
    assert!(verified.iter().any(|file| file.outcome.is_err()), "{verified:?}");
    assert!(matches!(setting.pull(&model, Precision::F32).await.unwrap(), Pulled::Fetched(_)));
    assert!(matches!(state("tiny f32"), Some(AssetState::Present { .. })));
}

#[tokio::test]
async fn a_vector_in_int8_is_the_same_alone_and_among_neighbours() {
    const BASE: Tiny = Tiny { kind: "bert", layers: 2, heads: 12, hidden: 768, wide: 256, positions: 128 };
    let Some(setting) = Setting::new() else { return };
    for kind in ["bert", "xlm-roberta"] {
        Tiny { kind, ..BASE }.save(&setting.source, 11);
        let model = setting.model().with_pooling(Pooling::Cls).with_prompts("query: ", "");
        setting.pull(&model, Precision::Int8).await.unwrap();
        let profile = model.profile(&setting.home.home, Precision::Int8).unwrap();
        let config = EncoderConfig::default().with_profile(profile).with_home(setting.home.home.clone());
        let encoder = Encoder::load(config.with_threads(NonZeroUsize::new(2).unwrap())).await.unwrap();
        assert!(encoder.model().variant().id().contains("precision=int8-not-calibrated"));
        let mut texts: Vec<String> = TEXTS.map(str::to_owned).to_vec();
        texts.extend(
            (1..100).map(|words| ["the quick brown fox a dog b word "; 13].concat()[..words].to_owned()),
        );
        texts.push("word ".repeat(120));
        for role in [Role::Query, Role::Document] {
            let together = encoder.embed(EmbedRequest::new(texts.clone(), role)).await.unwrap();
            for (index, text) in texts.iter().enumerate() {
                let alone = encoder.embed(EmbedRequest::new([text.clone()], role)).await.unwrap();
                let bits = |row: &[f32]| row.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                let (alone, among) = (alone.row(0).unwrap(), together.row(index).unwrap());
                assert_eq!(bits(alone.vector()), bits(among.vector()), "{kind} {text:?}");
            }
        }
    }
}
