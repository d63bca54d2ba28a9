//! A declared model in a folder as `sentence-transformers` writes it, and a data folder to pull it into.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use embed_assets::{PullOptions, Pulled, Repacker, SourceChoice, pull_custom};
use embed_core::Error;
use embed_encoder::{CustomModel, CustomSource, Encoder, EncoderConfig, Precision};
use serde_json::{Value, json};

use super::tiny::Tiny;
use super::{Ears, Home, options};

pub(crate) const BERT: Tiny =
    Tiny { kind: "bert", layers: 2, heads: 4, hidden: 128, wide: 96, positions: 40 };
pub(crate) const XLMR: Tiny = Tiny { kind: "xlm-roberta", positions: 41, ..BERT };

pub(crate) const TEXTS: [&str; 4] =
    ["the quick brown fox", "a", "Dog fox dog", "word b the quick brown fox a dog"];

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A data folder with the runtime library and a place for a model's folder.
pub(crate) struct Setting {
    pub(crate) home: Home,
    pub(crate) source: PathBuf,
    pub(crate) options: PullOptions,
}

impl Setting {
    /// `None` if there is no library here.
    pub(crate) fn new() -> Option<Self> {
        let mut setting = Self::without_library();
        setting.home = setting.home.with_runtime()?;
        setting.options.repack = Arc::new(Repacker::default());
        Some(setting)
    }

    /// For models that are never tried.
    pub(crate) fn without_library() -> Self {
        let home = Home::new();
        let source = home.folder.path().join("source");
        // There is no hub.
        let mut options = options("http://127.0.0.1:9".to_owned());
        options.source = SourceChoice::Auto;
        options.fetch_runtime = false;
        Self { home, source, options }
    }

    pub(crate) fn model(&self) -> CustomModel {
        CustomModel::new("tiny", CustomSource::Folder(self.source.clone()))
    }

    /// Writes a file beside the model.
    pub(crate) fn put(&self, name: &str, content: &Value) {
        let path = self.source.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content.to_string()).unwrap();
    }

    pub(crate) async fn pull(&self, model: &CustomModel, precision: Precision) -> Result<Pulled, Error> {
        pull_custom(&self.home.home, model, precision, &self.options, &Ears::default()).await
    }

    pub(crate) async fn refused(&self, model: &CustomModel) -> Error {
        self.pull(model, Precision::F32).await.unwrap_err()
    }

    pub(crate) async fn load(&self, model: &CustomModel, precision: Precision) -> Encoder {
        let profile = model.profile(&self.home.home, precision).unwrap();
        let config = EncoderConfig::default().with_profile(profile).with_precision(precision);
        let config = config.with_home(self.home.home.clone()).with_threads(NonZeroUsize::MIN);
        Encoder::load(config).await.unwrap()
    }
}

/// `modules.json` with these steps.
pub(crate) fn modules(steps: &[(&str, &str)]) -> Value {
    let module = |(index, (kind, path)): (usize, &(&str, &str))| {
        json!({"idx": index, "name": index.to_string(), "path": path,
               "type": format!("sentence_transformers.models.{kind}")})
    };
    steps.iter().enumerate().map(module).collect()
}

pub(crate) const NETWORK: (&str, &str) = ("Transformer", "");
pub(crate) const POOLING: (&str, &str) = ("Pooling", "1_Pooling");
pub(crate) const NORMALISE: (&str, &str) = ("Normalize", "2_Normalize");

pub(crate) fn pooling(mode: &str) -> Value {
    let mut file = json!({"word_embedding_dimension": 128, "include_prompt": true});
    for name in
        ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
    {
        file[format!("pooling_mode_{name}")] = (name == mode).into();
    }
    file
}

pub(crate) fn declared(name: &str, revision: &str) -> CustomModel {
    let (repository, revision) = ("somebody/tiny".to_owned(), revision.to_owned());
    CustomModel::new(name, CustomSource::Hub { repository, revision })
}
