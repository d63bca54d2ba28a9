//! Writes an encoder of the BERT family as an ONNX model for ONNX Runtime.
//!
//! Inputs are `input_ids` (i64, `[tokens]`), the tokens of all texts one after the other, [`POSITIONS`] (i64, `[tokens]`),
//! the place of each in its text, and [`LENGTHS`] (i64, `[texts]`), how many tokens each text has. The output is `pooled`
//! (f32, `[texts, hidden]`): the mean over all tokens of a text or its first token, not yet divided by its norm. Nothing is padded, and the
//! vector of a text is the same to the bit whatever texts are in its run.
//!
//! Such a model needs the operators of [`embed_encoder::operators`]. A model in bf16, for OpenVINO, has standard operators
//! only; its input is `input_ids` (i64, `[batch, sequence]`), and each text runs alone.
//!
//! `model.onnx_data`, in the same folder as `model.onnx`, has all large constants; the model holds its SHA-256, so that
//! a digest of the model is also one of the weights. The same weights and options give the same bytes on
//! every machine.

mod builder;
mod encoder;
mod onnx;
mod options;
mod plain;
mod quantise;
mod smooth;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use embed_core::{Error, ErrorKind};
use embed_encoder::operators;
use prost::Message as _;

use embed_encoder::assets::FORMAT_KEY;
pub use embed_encoder::assets::{LENGTHS, MODEL_FORMAT, POSITIONS};
pub use options::{GraphOptions, Precision};
pub use smooth::{LayerMaxima, LayerSmoothing, OUTLIERS, STRENGTH, Smoothing};

use crate::weights::EncoderWeights;
use builder::GraphBuilder;
use encoder::Network;
use onnx::{
    DimensionProto, ElementType, IR_VERSION, ModelProto, OPSET, OperatorSetIdProto, StringStringEntryProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use plain::PlainNetwork;

/// The suffix that makes the name of the data file from that of the model file, as on the hub.
pub const DATA_SUFFIX: &str = "_data";

/// The metadata key for the SHA-256 of the data file, which makes the model's digest one of the weights.
const DATA_SHA256_KEY: &str = "embed.data_sha256";

/// The producer in the metadata of a model file.
const PRODUCER: &str = "embed";

/// The files that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPaths {
    /// The graph.
    pub model: PathBuf,
    /// The large constants.
    pub data: PathBuf,
}

/// Writes the model to `out`, and its data file into the same folder.
///
/// Nobody should read the folder yet, because the two files are written one after the other.
///
/// # Errors
///
/// [`ErrorKind::Protocol`] if the weights don't fit their shape, [`ErrorKind::Config`] if the smoothing doesn't fit it or
/// a file can't be written.
pub fn write_model(
    weights: &EncoderWeights,
    options: &GraphOptions<'_>,
    out: &Path,
) -> Result<ModelPaths, Error> {
    weights.check()?;
    if let Some(smoothing) = options.smoothing {
        smoothing.check(&weights.shape)?;
    }
    let name = out.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Error::new(ErrorKind::Config, "the path of the model has no file name")
            .with_context("file", out.display())
    })?;
    let paths = ModelPaths { model: out.to_owned(), data: beside(out) };
    let unwritten = |path: &Path, error: io::Error| {
        Error::new(ErrorKind::Config, "a file of the model can't be written")
            .with_context("file", path.display())
            .with_source(error)
    };
    let model = write_data(weights, options, &paths.data, format!("{name}{DATA_SUFFIX}"))
        .map_err(|error| unwritten(&paths.data, error))?;
    write_whole(&paths.model, &model.encode_to_vec()).map_err(|error| unwritten(&paths.model, error))?;
    Ok(paths)
}

fn beside(model: &Path) -> PathBuf {
    let mut path = OsString::from(model);
    path.push(DATA_SUFFIX);
    path.into()
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Writes the data file and gives the model that refers to it.
fn write_data(
    weights: &EncoderWeights,
    options: &GraphOptions<'_>,
    path: &Path,
    name: String,
) -> io::Result<ModelProto> {
    let data = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let custom = options.precision != Precision::Bf16;
    let graph: GraphBuilder<_> = if custom {
        Network::new(weights, options, data, name).write()?
    } else {
        PlainNetwork::new(weights, options.pooling, data, name).write()?
    };
    let ids = |dims: &[DimensionProto]| value_info("input_ids", ElementType::I64, dims);
    let inputs = if custom {
        let others = [(POSITIONS, "tokens"), (LENGTHS, "batch")];
        let others = others.map(|(name, size)| value_info(name, ElementType::I64, &[named(size)]));
        [ids(&[named("tokens")])].into_iter().chain(others).collect()
    } else {
        vec![ids(&[named("batch"), named("sequence")])]
    };
    let width = i64::try_from(weights.shape.hidden).map_err(io::Error::other)?;
    let output = value_info("pooled", ElementType::F32, &[named("batch"), fixed(width)]);
    let (graph, data, digest) = graph.finish(options.profile, inputs, output);
    data.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    let set = |domain: &str, version| OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(version),
    };
    let metadata = vec![
        StringStringEntryProto::new(FORMAT_KEY, MODEL_FORMAT),
        StringStringEntryProto::new("embed.precision", options.precision.as_str()),
        StringStringEntryProto::new("embed.source", options.source),
        StringStringEntryProto::new("embed.profile", options.profile),
        StringStringEntryProto::new(DATA_SHA256_KEY, digest),
    ];
    let mut opset_import = vec![set("", OPSET)];
    if custom {
        opset_import.push(set(operators::DOMAIN, operators::VERSION));
    }
    Ok(ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some(PRODUCER.to_owned()),
        graph: Some(graph),
        opset_import,
        metadata_props: metadata,
    })
}

/// The SHA-256 of the data file, from the metadata of a model. `None` for models that other programs exported.
///
/// # Errors
///
/// [`ErrorKind::Config`] if the file can't be read or is no model, or was made for another version of this program.
pub(crate) fn noted_data_sha256(model: &Path) -> Result<Option<String>, Error> {
    let broken = |what: &str| Error::new(ErrorKind::Config, what).with_context("file", model.display());
    let bytes = std::fs::read(model).map_err(|error| broken("the model can't be read").with_source(error))?;
    let model = ModelProto::decode(bytes.as_slice())
        .map_err(|error| broken("the file is no model").with_source(error))?;
    let note = |key: &str| {
        let mut notes = model.metadata_props.iter();
        notes.find(|note| note.key.as_deref() == Some(key)).and_then(|note| note.value.clone())
    };
    match note(FORMAT_KEY) {
        Some(format) if format != MODEL_FORMAT => {
            Err(broken("the model was made for another version of this program")
                .with_context("format", format.escape_debug())
                .with_context("expected", MODEL_FORMAT))
        }
        _ => Ok(note(DATA_SHA256_KEY)),
    }
}

fn fixed(size: i64) -> DimensionProto {
    DimensionProto { dim_value: Some(size), dim_param: None }
}

fn named(name: &str) -> DimensionProto {
    DimensionProto { dim_value: None, dim_param: Some(name.to_owned()) }
}

fn value_info(name: &str, kind: ElementType, dim: &[DimensionProto]) -> ValueInfoProto {
    let tensor_type =
        TensorTypeProto { elem_type: Some(kind as i32), shape: Some(TensorShapeProto { dim: dim.to_vec() }) };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}
