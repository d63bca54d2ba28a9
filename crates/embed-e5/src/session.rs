//! One ONNX Runtime session and the shape of the model behind it.

use std::num::NonZeroUsize;
use std::path::Path;

use embed_core::{Error, ErrorKind};
use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
#[cfg(feature = "openvino")]
use ort::session::builder::SessionBuilder;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;

use crate::Precision;
use crate::assets::{FORMAT_KEY, LENGTHS, MODEL_FORMAT, POSITIONS};
use crate::engine::Encoder;
use crate::operators;
use crate::runtime::runtime_error;

/// A session, on one thread or more; the vectors are the same to the bit.
///
/// It takes the graphs that this project writes, over the tokens of all texts in a row (inputs [`POSITIONS`] and
/// [`LENGTHS`], output `pooled`), and the usual exports of the family over one text (inputs `attention_mask` and
/// `token_type_ids`, output `last_hidden_state`), whose mean it takes here.
pub(crate) struct OrtEncoder {
    session: Session,
    inputs: Vec<Input>,
    dimension: usize,
}

/// What is fed for each token.
#[derive(PartialEq, Eq)]
enum Input {
    Ids,
    /// Its place in its text.
    Positions,
    /// For each text and not for each token: how many it has.
    Lengths,
    /// One: nothing is padded, so every token counts.
    Mask,
    /// Zero: there is one segment.
    Types,
}

/// How 8-bit products are added on x86 without VNNI, in 16 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Products {
    /// As they come: the models that this project writes don't overflow.
    Fast,
    /// In a slower way that nothing overflows: for all others.
    Careful,
}

impl OrtEncoder {
    pub(crate) fn open(
        environment: &Environment,
        model: &Path,
        dimension: usize,
        precision: Precision,
        threads: NonZeroUsize,
    ) -> Result<Self, Error> {
        let open = |products| {
            Self::session(environment, model, (precision, products), threads).map_err(|error| {
                error.with_context("file", model.display()).with_context("fix", "embed models pull --force")
            })
        };
        let mut session = open(Products::Fast)?;
        check_format(&session).map_err(|error| error.with_context("file", model.display()))?;
        let is_own = session.inputs().iter().any(|input| input.name() == LENGTHS);
        if !is_own && products_saturate() {
            session = open(Products::Careful)?;
        }
        let inputs = session
            .inputs()
            .iter()
            .map(|input| match input.name() {
                "input_ids" => Ok(Input::Ids),
                POSITIONS => Ok(Input::Positions),
                LENGTHS => Ok(Input::Lengths),
                "attention_mask" => Ok(Input::Mask),
                "token_type_ids" => Ok(Input::Types),
                other => {
                    Err(Error::new(ErrorKind::Config, "the model has an input that this family doesn't")
                        .with_context("input", other)
                        .with_context("file", model.display()))
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { session, inputs, dimension })
    }

    fn session(
        environment: &Environment,
        model: &Path,
        (precision, products): (Precision, Products),
        threads: NonZeroUsize,
    ) -> Result<Session, Error> {
        let refused = |error: ort::Error<_>| runtime_error("ONNX Runtime refuses a session option", error);
        let mut builder = Session::builder(environment)
            .map_err(|error| runtime_error("ONNX Runtime gives no session", error))?
            // The graph is written in the form that runs fastest, so there is nothing left to fuse.
            .with_optimization_level(GraphOptimizationLevel::Level2)
            .map_err(refused)?
            .with_intra_threads(threads.get())
            .map_err(refused)?
            // Else the other threads keep their cores busy for a while after each text.
            .with_config_entry("session.force_spinning_stop", "1")
            .map_err(refused)?
            // Every text has its own length, so a plan of the memory of the last run is of no use.
            .with_memory_pattern(false)
            .map_err(refused)?;
        builder = builder.with_operators(operators::domain(threads)?).map_err(refused)?;
        if products == Products::Careful {
            builder = builder.with_config_entry("session.x64quantprecision", "1").map_err(refused)?;
        }
        match precision {
            #[cfg(feature = "openvino")]
            Precision::Bf16 => builder = with_openvino(builder)?,
            Precision::Int8 | Precision::F32 | Precision::Mixed => {}
        }
        operators::open(|| builder.commit_from_file(model))
            .map_err(|error| runtime_error("ONNX Runtime can't load the model", error))
    }
}

impl Encoder for OrtEncoder {
    fn encode(&mut self, texts: &[&[i64]]) -> Result<Vec<Vec<f32>>, Error> {
        let failed = |error: ort::Error| runtime_error("ONNX Runtime failed on a text", error);
        let tokens = texts.iter().map(|text| text.len()).sum();
        let positions = || texts.iter().flat_map(|text| (0_i64..).take(text.len())).collect();
        let lengths = || texts.iter().map(|text| i64::try_from(text.len()).unwrap_or(i64::MAX)).collect();
        // The usual exports take a batch, here of one text.
        let shape = if self.shares_runs() { vec![tokens] } else { vec![texts.len(), tokens] };
        let inputs = self
            .inputs
            .iter()
            .map(|input| match input {
                Input::Ids => tensor(&shape, texts.concat()),
                Input::Positions => tensor(&shape, positions()),
                Input::Lengths => tensor(&[texts.len()], lengths()),
                Input::Mask => tensor(&shape, vec![1; tokens]),
                Input::Types => tensor(&shape, vec![0; tokens]),
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let outputs = self.session.run(inputs.as_slice()).map_err(failed)?;
        let (dims, values) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        means_over_tokens(dims, values, [texts.len(), tokens], self.dimension)
    }

    fn shares_runs(&self) -> bool {
        self.inputs.contains(&Input::Lengths)
    }
}

/// Refuses a model of this project whose inputs and outputs mean something else than this version thinks. Exports of
/// others note no format.
fn check_format(session: &Session) -> Result<(), Error> {
    let metadata = session.metadata().map_err(|error| runtime_error("the model has no metadata", error))?;
    match metadata.custom(FORMAT_KEY) {
        Some(format) if format != MODEL_FORMAT => {
            Err(Error::new(ErrorKind::Config, "the model was made for another version of this program")
                .with_context("format", format.escape_debug())
                .with_context("expected", MODEL_FORMAT)
                .with_context("fix", "embed models pull --force"))
        }
        _ => Ok(()),
    }
}

/// Lets OpenVINO compile the graph, with products of bfloat16 numbers, for one thread.
#[cfg(feature = "openvino")]
fn with_openvino(builder: SessionBuilder) -> Result<SessionBuilder, Error> {
    use ort::ep::{ArbitrarilyConfigurableExecutionProvider as _, OpenVINO};

    // OpenVINO would pin the thread of every session to the same processor.
    let options = r#"{"CPU": {"INFERENCE_PRECISION_HINT": "bf16", "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": 1, "ENABLE_CPU_PINNING": false}}"#;
    let provider = OpenVINO::default().with_device_type("CPU").with_arbitrary_config("load_config", options);
    builder.with_execution_providers([provider.build().error_on_failure()]).map_err(|error| {
        Error::new(
            ErrorKind::Config,
            "this ONNX Runtime has no OpenVINO execution provider, which bf16 needs; let ORT_DYLIB_PATH \
             name the library of the PyPI wheel onnxruntime-openvino, or choose f32",
        )
        .with_source(std::io::Error::other(error.to_string()))
    })
}

/// Whether this processor adds products of 8-bit numbers in 16 bits, which overflow: x86 without VNNI.
fn products_saturate() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        !std::arch::is_x86_feature_detected!("avx512vnni") && !std::arch::is_x86_feature_detected!("avxvnni")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Whole numbers as an input.
fn tensor(shape: &[usize], values: Vec<i64>) -> Result<SessionInputValue<'static>, ort::Error> {
    Tensor::from_array((shape.to_vec(), values)).map(Into::into)
}

/// The mean over the tokens of each text, from either form of output.
fn means_over_tokens(
    dims: &[i64],
    values: &[f32],
    [texts, tokens]: [usize; 2],
    dimension: usize,
) -> Result<Vec<Vec<f32>>, Error> {
    let sizes: Vec<_> = dims.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
    if sizes == [texts, dimension] {
        return Ok(values.chunks_exact(dimension).map(<[f32]>::to_vec).collect());
    }
    if sizes == [texts, tokens, dimension] {
        let mean = |states: &[f32]| {
            let mut mean = vec![0.0; dimension];
            for state in states.chunks_exact(dimension) {
                for (sum, value) in mean.iter_mut().zip(state) {
                    *sum += value / tokens as f32;
                }
            }
            mean
        };
        return Ok(values.chunks_exact(tokens * dimension).map(mean).collect());
    }
    Err(Error::new(ErrorKind::DimensionMismatch, "the model gives another shape than its profile")
        .with_context("expected width", dimension)
        .with_context("got", format!("{dims:?}")))
}
