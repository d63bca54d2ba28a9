//! Reads `model.safetensors` and `config.json` of the Hugging Face hub: BERT and XLM-RoBERTa encoders.
//!
//! multilingual-e5-small, e5-*-v2 and all-MiniLM are BERT: positions count from 0.
//! multilingual-e5-base and -large are XLM-RoBERTa: positions count from the padding id plus one, which is
//! why their tables have 514 rows for 512 tokens.

use std::path::Path;
use std::sync::Arc;

use embed_core::{Error, ErrorKind};
use safetensors::tensor::{Dtype, Metadata, SafeTensors};
use serde::Deserialize;

use super::matrix::{FileBytes, Format, Matrix};
use super::{Embeddings, EncoderLayer, EncoderShape, EncoderWeights, LinearLayer, Norm, broken};

/// Prefixes of tensor names, which depend on the class that saved the model.
const PREFIXES: [&str; 3] = ["", "bert.", "roberta."];

/// The id of padding if `config.json` doesn't name one.
const XLM_ROBERTA_PADDING: usize = 1;

/// Bytes before the header: its length.
const HEADER_LENGTH_BYTES: usize = 8;

/// The part of `config.json` that says what the network is.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    model_type: String,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f32,
    hidden_act: String,
    #[serde(default)]
    pad_token_id: Option<usize>,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default)]
    add_cross_attention: bool,
    /// Where a repository has code of its own for the network.
    #[serde(default)]
    auto_map: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Kind {
    model_type: String,
}

fn read_json<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(json)
        .map_err(|error| broken("config.json isn't the configuration of an encoder").with_source(error))
}

/// Refuses networks of other kinds.
fn check_kind(model_type: &str) -> Result<(), Error> {
    // The last three are one network under three names.
    if ["bert", "xlm-roberta", "roberta", "camembert"].contains(&model_type) {
        return Ok(());
    }
    let what = "the network is of a kind that this program doesn't run; it runs bert and xlm-roberta";
    Err(broken(what).with_context("model_type", model_type.escape_debug()))
}

impl Config {
    /// Reads `config.json`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] if it isn't the configuration of an encoder.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        // Other networks have other numbers, so the kind is looked at first.
        let Kind { model_type } = read_json(json)?;
        check_kind(&model_type)?;
        read_json(json)
    }

    /// The shape of the network.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] if it is a network that the graph writer doesn't know.
    pub fn shape(&self) -> Result<EncoderShape, Error> {
        let first_position = match self.model_type.as_str() {
            "bert" => 0,
            _ => self.pad_token_id.unwrap_or(XLM_ROBERTA_PADDING).saturating_add(1),
        };
        if self.hidden_act != "gelu" {
            let what = "the network has an activation that this program doesn't run; it runs gelu";
            return Err(broken(what).with_context("hidden_act", self.hidden_act.escape_debug()));
        }
        if let Some(kind) = self.position_embedding_type.as_deref().filter(|&kind| kind != "absolute") {
            let what = "the network has positions that this program doesn't run; it runs absolute ones";
            return Err(broken(what).with_context("position_embedding_type", kind.escape_debug()));
        }
        if self.is_decoder || self.add_cross_attention {
            return Err(broken("the network is a decoder; this program runs encoders"));
        }
        if self.auto_map.as_ref().is_some_and(|map| !map.is_null()) {
            let what = "the repository has its own code for the network (auto_map in config.json), which this program \
                        doesn't run";
            return Err(broken(what));
        }
        let shape = EncoderShape {
            hidden: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            feed_forward: self.intermediate_size,
            vocabulary: self.vocab_size,
            positions: self.max_position_embeddings,
            first_position,
            types: self.type_vocab_size,
            epsilon: self.layer_norm_eps,
        };
        shape.check()?;
        Ok(shape)
    }
}

/// Reads the weights and their configuration.
///
/// # Errors
///
/// [`ErrorKind::Config`] if a file can't be read, [`ErrorKind::Protocol`] if it isn't what its name says or
/// doesn't fit the other.
pub fn read(model: &Path, config: &Path) -> Result<EncoderWeights, Error> {
    let load = |path: &Path| {
        std::fs::read(path).map_err(|error| {
            Error::new(ErrorKind::Config, "a file of the model can't be read")
                .with_context("file", path.display())
                .with_source(error)
        })
    };
    let config =
        Config::parse(&load(config)?).map_err(|error| error.with_context("file", config.display()))?;
    parse(load(model)?, &config).map_err(|error| error.with_context("file", model.display()))
}

/// Reads the weights from the bytes of `model.safetensors`.
///
/// # Errors
///
/// As [`read`].
pub fn parse(bytes: Vec<u8>, config: &Config) -> Result<EncoderWeights, Error> {
    let shape = config.shape()?;
    let (header, metadata) = SafeTensors::read_metadata(&bytes)
        .map_err(|error| broken("the file isn't a safetensors file").with_source(error))?;
    let prefix = PREFIXES
        .into_iter()
        .find(|prefix| metadata.info(&format!("{prefix}embeddings.word_embeddings.weight")).is_some())
        .ok_or_else(|| broken("the file holds no BERT encoder"))?;
    let tensors =
        Tensors { data: header + HEADER_LENGTH_BYTES, file: Arc::new(bytes.into()), metadata, prefix };
    let weights = tensors.weights(shape)?;
    weights.check()?;
    Ok(weights)
}

struct Tensors {
    file: Arc<FileBytes>,
    metadata: Metadata,
    /// Where the data begin in the file.
    data: usize,
    prefix: &'static str,
}

impl Tensors {
    fn weights(&self, shape: EncoderShape) -> Result<EncoderWeights, Error> {
        let hidden = shape.hidden;
        let beyond = format!("{}encoder.layer.{}.output.dense.weight", self.prefix, shape.layers);
        if self.metadata.info(&beyond).is_some() {
            return Err(broken("the file has more layers than config.json says"));
        }
        let table =
            |name: &str, rows: usize| self.matrix(&format!("embeddings.{name}.weight"), &[rows, hidden]);
        Ok(EncoderWeights {
            shape,
            embeddings: Embeddings {
                word: table("word_embeddings", shape.vocabulary)?,
                position: table("position_embeddings", shape.positions)?,
                token_type: table("token_type_embeddings", shape.types)?,
                norm: self.norm("embeddings.LayerNorm", hidden)?,
            },
            layers: (0..shape.layers).map(|layer| self.layer(layer, &shape)).collect::<Result<_, _>>()?,
        })
    }

    fn layer(&self, layer: usize, shape: &EncoderShape) -> Result<EncoderLayer, Error> {
        let (hidden, wide) = (shape.hidden, shape.feed_forward);
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        Ok(EncoderLayer {
            query: self.linear(&name("attention.self.query"), hidden, hidden)?,
            key: self.linear(&name("attention.self.key"), hidden, hidden)?,
            value: self.linear(&name("attention.self.value"), hidden, hidden)?,
            attention_output: self.linear(&name("attention.output.dense"), hidden, hidden)?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"), hidden)?,
            feed_forward_in: self.linear(&name("intermediate.dense"), wide, hidden)?,
            feed_forward_out: self.linear(&name("output.dense"), hidden, wide)?,
            output_norm: self.norm(&name("output.LayerNorm"), hidden)?,
        })
    }

    fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<LinearLayer, Error> {
        Ok(LinearLayer {
            weight: self.matrix(&format!("{name}.weight"), &[outputs, inputs])?,
            bias: self.vector(&format!("{name}.bias"), outputs)?,
        })
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm, Error> {
        Ok(Norm {
            scale: self.vector(&format!("{name}.weight"), width)?,
            bias: self.vector(&format!("{name}.bias"), width)?,
        })
    }

    fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, Error> {
        Ok(self.matrix(name, &[length])?.to_f32())
    }

    /// A tensor of the expected size; a vector is a matrix of one row.
    fn matrix(&self, name: &str, size: &[usize]) -> Result<Matrix, Error> {
        let about = |error: Error| error.with_context("tensor", name);
        let info = self
            .metadata
            .info(&[self.prefix, name].concat())
            .ok_or_else(|| about(broken("a tensor is missing")))?;
        let format = match info.dtype {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::Bf16,
            other => {
                let error = broken("the type of a tensor is unknown");
                return Err(about(error).with_context("type", format!("{other:?}")));
            }
        };
        if info.shape != size {
            return Err(about(broken("a tensor has another size than config.json says"))
                .with_context("size", format!("{:?}", info.shape)));
        }
        let (rows, columns) = match *size {
            [rows, columns] => (rows, columns),
            _ => (1, size.iter().product()),
        };
        let (start, end) = info.data_offsets;
        let range = self.data.saturating_add(start)..self.data.saturating_add(end);
        Matrix::new(&self.file, range, format, rows, columns).map_err(about)
    }
}
