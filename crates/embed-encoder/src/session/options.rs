//! How a session is set up for the processor and the precision.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};

#[cfg(feature = "openvino")]
use embed_core::ErrorKind;
use embed_core::{Error, Pooling};
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
#[cfg(feature = "openvino")]
use ort::session::builder::SessionBuilder;

use super::weights::SharedWeights;
use crate::Precision;
use crate::assets::ModelFiles;
use crate::operators;
use crate::runtime::runtime_error;

/// What sessions of a model need to be opened.
#[derive(Debug)]
pub(crate) struct SessionFiles {
    pub(crate) environment: Environment,
    /// Held, so that they stay as they were verified.
    pub(crate) files: ModelFiles,
    pub(crate) dimension: usize,
    /// How states of tokens become a vector, for graphs that don't do it themselves.
    pub(crate) pooling: Pooling,
    pub(crate) precision: Precision,
    /// Whether there are several sessions, which then share their weights. A single one has them mapped.
    pub(crate) shares: bool,
    /// What sessions share, while the model has one.
    pub(crate) weights: Mutex<Weak<SharedWeights>>,
}

impl SessionFiles {
    /// What all sessions share, read if there is no other session.
    pub(super) fn weights(&self) -> Result<Arc<SharedWeights>, Error> {
        let mut shared = self.weights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(weights) = shared.upgrade() {
            return Ok(weights);
        }
        let weights = Arc::new(SharedWeights::read(&self.files.model, self.shares)?);
        *shared = Arc::downgrade(&weights);
        Ok(weights)
    }
}

/// How 8-bit products are added on x86 without VNNI, which adds in 16 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Products {
    /// Without precautions: the models that this project writes don't overflow.
    Fast,
    /// In a slower way that doesn't overflow, for all other models.
    Careful,
}

/// Opens a session.
pub(super) fn session(
    files: &SessionFiles,
    weights: &SharedWeights,
    products: Products,
    threads: NonZeroUsize,
) -> Result<Session, Error> {
    let refused = |error: ort::Error<_>| runtime_error("ONNX Runtime refuses a session option", error);
    let mut builder = Session::builder(&files.environment)
        .map_err(|error| runtime_error("ONNX Runtime gives no session", error))?
        // The graph is already written in the fastest form, so there is nothing left to fuse.
        .with_optimization_level(GraphOptimizationLevel::Level2)
        .map_err(refused)?
        .with_intra_threads(threads.get())
        .map_err(refused)?
        // Otherwise the other threads keep their cores busy for a while after each text.
        .with_config_entry("session.force_spinning_stop", "1")
        .map_err(refused)?
        // Texts differ in length, so the memory plan of the last run is useless.
        .with_memory_pattern(false)
        .map_err(refused)?;
    let (table, layers) = (weights.table.clone(), Arc::clone(&weights.layers));
    builder = builder.with_operators(operators::domain(threads, table, Some(layers))?).map_err(refused)?;
    for (name, value) in &weights.values {
        builder = builder.with_initializer(name, Arc::clone(value)).map_err(refused)?;
    }
    if products == Products::Careful {
        builder = builder.with_config_entry("session.x64quantprecision", "1").map_err(refused)?;
    }
    match files.precision {
        #[cfg(feature = "openvino")]
        Precision::Bf16 => builder = with_openvino(builder)?,
        Precision::Int8 | Precision::F32 | Precision::Mixed => {}
    }
    operators::open(|| builder.commit_from_file(&files.files.model))
        .map_err(|error| runtime_error("ONNX Runtime can't load the model", error))
}

/// Whether this processor adds products of 8-bit numbers in 16 bits, which overflow: x86 without VNNI.
pub(super) fn products_saturate() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        !std::arch::is_x86_feature_detected!("avx512vnni") && !std::arch::is_x86_feature_detected!("avxvnni")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// Has OpenVINO compile the graph for one thread, with products of bfloat16 numbers.
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
