//! One ONNX Runtime session and the shape of the model behind it.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::path::Path;

use embed_core::{Error, ErrorKind};
use ort::environment::Environment;
use ort::session::builder::GraphOptimizationLevel;
#[cfg(feature = "openvino")]
use ort::session::builder::SessionBuilder;
use ort::session::{Session, SessionInputValue};
use ort::value::{Tensor, TensorRef};

use crate::Precision;
use crate::assets::INDEPENDENT_ROWS;
use crate::engine::Encoder;
use crate::runtime::runtime_error;

/// A session, on one thread or more; the vectors are the same to the bit.
///
/// It takes the graphs that this project writes (output `pooled`) and the usual exports of the family
/// (inputs `attention_mask` and `token_type_ids` too, output `last_hidden_state`), whose mean it takes here.
pub(crate) struct OrtEncoder {
    session: Session,
    inputs: Vec<Input>,
    dimension: usize,
    rows_are_independent: bool,
}

/// What is fed for each token.
enum Input {
    Ids,
    /// One: nothing is padded, so every token counts.
    Mask,
    /// Zero: there is one segment.
    Types,
}

impl OrtEncoder {
    pub(crate) fn open(
        environment: &Environment,
        model: &Path,
        dimension: usize,
        precision: Precision,
        threads: NonZeroUsize,
    ) -> Result<Self, Error> {
        let session = Self::session(environment, model, precision, threads).map_err(|error| {
            error.with_context("file", model.display()).with_context("mend", "embed models verify")
        })?;
        let inputs = session
            .inputs()
            .iter()
            .map(|input| match input.name() {
                "input_ids" => Ok(Input::Ids),
                "attention_mask" => Ok(Input::Mask),
                "token_type_ids" => Ok(Input::Types),
                other => {
                    Err(Error::new(ErrorKind::Config, "the model has an input that this family doesn't")
                        .with_context("input", other)
                        .with_context("file", model.display()))
                }
            })
            .collect::<Result<_, _>>()?;
        let says = |key| session.metadata().ok().and_then(|metadata| metadata.custom(key));
        let rows_are_independent = says(INDEPENDENT_ROWS).is_some();
        Ok(Self { session, inputs, dimension, rows_are_independent })
    }

    fn session(
        environment: &Environment,
        model: &Path,
        precision: Precision,
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
        if products_saturate() {
            builder = builder.with_config_entry("session.x64quantprecision", "1").map_err(refused)?;
        }
        match precision {
            #[cfg(feature = "openvino")]
            Precision::Bf16 => builder = with_openvino(builder)?,
            Precision::Int8 | Precision::F32 | Precision::Mixed => {}
        }
        builder
            .commit_from_file(model)
            .map_err(|error| runtime_error("ONNX Runtime can't load the model", error))
    }
}

impl Encoder for OrtEncoder {
    fn encode(&mut self, texts: &[&[i64]]) -> Result<Vec<Vec<f32>>, Error> {
        let failed = |error: ort::Error| runtime_error("ONNX Runtime failed on a text", error);
        let together = match texts {
            [text] => Cow::Borrowed(*text),
            _ => Cow::Owned(texts.concat()),
        };
        let ids: &[i64] = &together;
        let shape = [texts.len(), ids.len() / texts.len().max(1)];
        let constant = |value| Tensor::from_array((shape, vec![value; ids.len()])).map(Into::into);
        let inputs = self
            .inputs
            .iter()
            .map(|input| match input {
                Input::Ids => TensorRef::from_array_view((shape, ids)).map(SessionInputValue::from),
                Input::Mask => constant(1_i64),
                Input::Types => constant(0_i64),
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let outputs = self.session.run(inputs.as_slice()).map_err(failed)?;
        let (dims, values) = outputs[0].try_extract_tensor::<f32>().map_err(failed)?;
        means_over_tokens(dims, values, shape, self.dimension)
    }

    fn rows_are_independent(&self) -> bool {
        self.rows_are_independent
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

/// Whether this processor adds products of 8-bit numbers in 16 bits, which overflow: x86 without VNNI. ONNX
/// Runtime then takes a slower way that doesn't. Elsewhere the same setting would cost half the speed.
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
