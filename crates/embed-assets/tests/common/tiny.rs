//! Tiny models with noise as weights, whose files a hub double or a folder gives.

use std::fs;
use std::path::Path;

use embed_assets::Forward;
use embed_assets::weights::safetensors as weights;
use embed_core::{EmbedRequest, Embedder, Normalisation, Pooling, Role, vector};
use embed_encoder::{Encoder, Profile};
use safetensors::tensor::{Dtype, TensorView, serialize};

/// The shape of a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tiny {
    /// `bert` or `xlm-roberta`.
    pub(crate) kind: &'static str,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) hidden: usize,
    pub(crate) wide: usize,
    /// Rows of the position table.
    pub(crate) positions: usize,
}

/// The vocabulary.
pub(crate) const WORDS: [&str; 16] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "query", "passage", ":", "the", "quick", "brown", "fox",
    "dog", "a", "b", "word",
];

/// A WordPiece tokenizer over [`WORDS`].
pub(crate) fn tokenizer() -> String {
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

impl Tiny {
    /// Its `config.json`.
    pub(crate) fn config(&self) -> String {
        serde_json::json!({
            "model_type": self.kind, "hidden_size": self.hidden, "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads, "intermediate_size": self.wide, "vocab_size": WORDS.len(),
            "max_position_embeddings": self.positions, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
            "hidden_act": "gelu", "pad_token_id": 0,
        })
        .to_string()
    }

    /// Its `model.safetensors`.
    pub(crate) fn weights(&self, seed: u32) -> Vec<u8> {
        let Self { hidden, wide, .. } = *self;
        let mut tensors = Vec::new();
        let mut state = seed;
        let mut noise = |name: String, shape: &[usize], middle: f32| {
            let count: usize = shape.iter().product();
            let number = |_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                middle + ((state >> 16) as f32 / 65_536.0 - 0.5) * 0.2
            };
            let data: Vec<u8> = (0..count).map(number).flat_map(f32::to_le_bytes).collect();
            tensors.push((name, shape.to_vec(), data));
        };
        for (name, rows) in [("word", WORDS.len()), ("position", self.positions), ("token_type", 2)] {
            noise(format!("embeddings.{name}_embeddings.weight"), &[rows, hidden], 0.0);
        }
        let mut norms = vec!["embeddings".to_owned()];
        for layer in (0..self.layers).map(|index| format!("encoder.layer.{index}")) {
            for (name, outputs, inputs) in [
                ("attention.self.query", hidden, hidden),
                ("attention.self.key", hidden, hidden),
                ("attention.self.value", hidden, hidden),
                ("attention.output.dense", hidden, hidden),
                ("intermediate.dense", wide, hidden),
                ("output.dense", hidden, wide),
            ] {
                noise(format!("{layer}.{name}.weight"), &[outputs, inputs], 0.0);
                noise(format!("{layer}.{name}.bias"), &[outputs], 0.0);
            }
            norms.extend([format!("{layer}.attention.output"), format!("{layer}.output")]);
        }
        for norm in norms {
            noise(format!("{norm}.LayerNorm.weight"), &[hidden], 1.0);
            noise(format!("{norm}.LayerNorm.bias"), &[hidden], 0.0);
        }
        let views = tensors
            .iter()
            .map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
        serialize(views, None).unwrap()
    }

    /// Writes its files as `transformers` does.
    pub(crate) fn save(&self, folder: &Path, seed: u32) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("config.json"), self.config()).unwrap();
        fs::write(folder.join("tokenizer.json"), tokenizer()).unwrap();
        fs::write(folder.join("model.safetensors"), self.weights(seed)).unwrap();
    }

    /// Embeds the texts in one request for each role, and compares each row with the network as it is defined.
    pub(crate) async fn agrees(
        &self,
        encoder: &Encoder,
        profile: &Profile,
        seed: u32,
        texts: &[&str],
        least: f64,
    ) {
        let config = weights::Config::parse(self.config().as_bytes()).unwrap();
        let weights = weights::parse(self.weights(seed), &config).unwrap();
        let network = Forward::new(&weights);
        let hidden = self.hidden;
        for role in [Role::Query, Role::Document] {
            let response = encoder.embed(EmbedRequest::new(texts.iter().copied(), role)).await.unwrap();
            for (text, row) in texts.iter().zip(response.rows()) {
                let row = row.unwrap();
                let ids: Vec<u32> =
                    encoder.tokenise(text, role).unwrap().iter().map(|token| token.id).collect();
                let states = network.states(&ids);
                let mut expected = states[..hidden].to_vec();
                if profile.pooling == Pooling::Mean {
                    for (channel, value) in expected.iter_mut().enumerate() {
                        let of_channel = states.chunks_exact(hidden).map(|state| state[channel]);
                        *value = of_channel.sum::<f32>() / ids.len() as f32;
                    }
                }
                let cosine = f64::from(vector::cosine(row.vector(), &expected).unwrap());
                assert!(cosine >= least, "{} {} {text:?}: {cosine}", self.kind, profile.name);
                let norm = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>().sqrt();
                let expected = if profile.normalisation == Normalisation::L2 { 1.0 } else { norm(&expected) };
                let ratio = norm(row.vector()) / expected;
                assert!((f64::from(ratio) - 1.0).abs() < 1.01 - least, "{ratio}");
            }
        }
    }
}
