//! An ONNX Runtime session of a model.

mod input;
mod options;
mod output;
mod weights;

use std::num::NonZeroUsize;
use std::sync::Arc;

use embed_core::{Error, ErrorKind, Pooling};
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;

use self::input::{ModelInput, known_inputs};
pub(crate) use self::options::SessionFiles;
use self::options::{Products, products_saturate, session};
use self::output::{known_output, pooled};
use self::weights::SharedWeights;
use crate::assets::{FORMAT_KEY, LENGTHS, MODEL_FORMAT};
use crate::engine::{EngineModel, Ragged};
use crate::runtime::runtime_error;

/// A session, on one thread or more; the vectors are the same to the bit.
///
/// It runs the graphs that this project writes, over the tokens of all texts in a row (inputs
/// [`POSITIONS`](crate::assets::POSITIONS) and [`LENGTHS`], output `pooled`), and the usual exports of the family over one
/// text (inputs `attention_mask` and `token_type_ids`, output `last_hidden_state`), whose states it pools here.
pub(crate) struct OrtModel {
    session: Session,
    inputs: Vec<ModelInput>,
    output: &'static str,
    dimension: usize,
    pooling: Pooling,
    /// Held, so that further sessions have the same ones.
    _weights: Arc<SharedWeights>,
}

impl OrtModel {
    pub(crate) fn open(files: &SessionFiles, threads: NonZeroUsize) -> Result<Self, Error> {
        // A worker may reopen the model long after the embedder was loaded.
        files.files.verify_again()?;
        let weights = files.weights()?;
        let of_file = |error: Error| error.with_context("file", files.files.model.display());
        let open = |products| {
            session(files, &weights, products, threads)
                .map_err(|error| of_file(error).with_context("fix", "embed models pull --force"))
        };
        let mut session = open(Products::Fast)?;
        check_format(&session).map_err(of_file)?;
        let is_native = session.inputs().iter().any(|input| input.name() == LENGTHS);
        if !is_native && products_saturate() {
            session = open(Products::Careful)?;
        }
        let inputs = known_inputs(session.inputs().iter().map(|input| input.name())).map_err(of_file)?;
        let output = known_output(session.outputs().iter().map(|output| output.name())).map_err(of_file)?;
        let (dimension, pooling) = (files.dimension, files.pooling);
        Ok(Self { session, inputs, output, dimension, pooling, _weights: weights })
    }
}

impl EngineModel for OrtModel {
    fn run(&mut self, batch: &Ragged<'_>) -> Result<Vec<Vec<f32>>, Error> {
        let failed = |error: ort::Error| runtime_error("ONNX Runtime failed on a text", error);
        let (windows, tokens) = (&batch.windows, batch.tokens());
        let ids = || windows.iter().copied().flatten().map(|&id| i64::from(id)).collect();
        let positions = || windows.iter().flat_map(|window| (0_i64..).take(window.len())).collect();
        let lengths =
            || windows.iter().map(|window| i64::try_from(window.len()).unwrap_or(i64::MAX)).collect();
        // The usual exports take a batch, here of one text.
        let shape = if self.ragged() { vec![tokens] } else { vec![windows.len(), tokens] };
        let inputs = self
            .inputs
            .iter()
            .map(|input| match input {
                ModelInput::Ids => tensor(&shape, ids()),
                ModelInput::Positions => tensor(&shape, positions()),
                ModelInput::Lengths => tensor(&[windows.len()], lengths()),
                ModelInput::Mask => tensor(&shape, vec![1; tokens]),
                ModelInput::Types => tensor(&shape, vec![0; tokens]),
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let outputs = self.session.run(inputs.as_slice()).map_err(failed)?;
        let (dims, values) = outputs[self.output].try_extract_tensor::<f32>().map_err(failed)?;
        pooled(dims, values, [windows.len(), tokens], (self.dimension, self.pooling))
    }

    fn ragged(&self) -> bool {
        self.inputs.contains(&ModelInput::Lengths)
    }
}

/// Refuses a model of this project in another format. Models that other programs exported have no format.
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

/// Whole numbers as an input.
fn tensor(shape: &[usize], values: Vec<i64>) -> Result<SessionInputValue<'static>, ort::Error> {
    Tensor::from_array((shape.to_vec(), values)).map(Into::into)
}
