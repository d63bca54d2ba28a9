//! `ort` by hand: one session with all cores, as its examples have it.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, anyhow};
use embed_encoder::assets::{DataHome, LENGTHS, POSITIONS};
use embed_encoder::{RuntimeLibrary, operators};
use embed_rivals_worker::{Contender, Role};
use ort::environment::Environment;
use ort::operator::OperatorDomain;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;
use tokenizers::{Tokenizer, TruncationParams};

type Rows = Vec<Vec<f32>>;

/// How texts become runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// One text a run, on our own graph, which pools.
    Alone,
    /// Batches of 32 as they come, padded, on the graph as everybody exports it; the program pools.
    Padded,
}

const BATCH: usize = 32;
/// `<pad>` in XLM-RoBERTa.
const PAD: u32 = 1;

pub(super) struct Bare {
    session: Mutex<Session>,
    tokenizer: Tokenizer,
    layout: Layout,
}

impl Bare {
    pub(super) fn load(model: &Path, tokenizer: &Path, layout: Layout) -> Result<Self> {
        let library = RuntimeLibrary::find(&DataHome::from_env()?, None)?;
        let environment = library.shared_environment()?.downcast::<Environment>();
        let environment = environment.map_err(|_| anyhow!("the environment is of another ort"))?;
        let builder = Session::builder(&environment)?.with_optimization_level(GraphOptimizationLevel::All);
        // The builder that such an error carries isn't `Send`; its text says all.
        let builder = builder.map_err(|error| anyhow!("{error}"))?;
        let threads: NonZeroUsize = thread::available_parallelism()?;
        let builder = builder.with_intra_threads(threads.get()).map_err(|error| anyhow!("{error}"))?;
        let operators = operators::shared(threads)?.downcast::<Arc<OperatorDomain>>();
        let operators = *operators.map_err(|_| anyhow!("the operators are of another ort"))?;
        let builder = builder.with_operators(operators).map_err(|error| anyhow!("{error}"));
        let session = builder?.commit_from_file(model)?;
        let mut tokenizer = Tokenizer::from_file(tokenizer).map_err(|error| anyhow!("{error}"))?;
        let truncation = TruncationParams { max_length: 512, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| anyhow!("{error}"))?;
        tokenizer.with_padding(None);
        Ok(Self { session: Mutex::new(session), tokenizer, layout })
    }

    fn ids(&self, text: &str, role: Role) -> Result<Vec<u32>> {
        let encoding = self.tokenizer.encode_fast(format!("{}{text}", role.prefix()), true);
        Ok(encoding.map_err(|error| anyhow!("{error}"))?.get_ids().to_vec())
    }

    fn alone(&self, ids: &[u32]) -> Result<Vec<f32>> {
        let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let positions: Vec<i64> = (0..).take(ids.len()).collect();
        let lengths = [i64::try_from(ids.len())?];
        let inputs = ort::inputs![
            "input_ids" => TensorRef::from_array_view(([ids.len()], ids.as_slice()))?,
            POSITIONS => TensorRef::from_array_view(([ids.len()], positions.as_slice()))?,
            LENGTHS => TensorRef::from_array_view(([1], lengths.as_slice()))?,
        ];
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(inputs)?;
        Ok(normalised(outputs[0].try_extract_tensor::<f32>()?.1.to_vec()))
    }

    fn padded(&self, batch: &[Vec<u32>]) -> Result<Rows> {
        let longest = batch.iter().map(Vec::len).max().unwrap_or(0);
        let padded = |ids: &Vec<u32>| {
            let padding = std::iter::repeat_n(PAD, longest - ids.len());
            ids.iter().copied().chain(padding).map(i64::from).collect::<Vec<_>>()
        };
        let ids: Vec<i64> = batch.iter().flat_map(padded).collect();
        let mask: Vec<i64> = ids.iter().map(|&id| i64::from(id != i64::from(PAD))).collect();
        let types = vec![0_i64; ids.len()];
        let shape = [batch.len(), longest];
        let inputs = ort::inputs![
            "input_ids" => TensorRef::from_array_view((shape, ids.as_slice()))?,
            "attention_mask" => TensorRef::from_array_view((shape, mask.as_slice()))?,
            "token_type_ids" => TensorRef::from_array_view((shape, types.as_slice()))?,
        ];
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(inputs)?;
        let (dims, states) = outputs[0].try_extract_tensor::<f32>()?;
        let width = usize::try_from(*dims.last().context("the output has no dimensions")?)?;
        let text = |(states, ids): (&[f32], &Vec<u32>)| {
            let mut sum = vec![0.0; width];
            for token in states.chunks(width).take(ids.len()) {
                sum.iter_mut().zip(token).for_each(|(sum, value)| *sum += value);
            }
            normalised(sum)
        };
        Ok(states.chunks(longest * width).zip(batch).map(text).collect())
    }
}

impl Contender for Bare {
    fn setting(&self) -> String {
        match self.layout {
            Layout::Alone => "our graph, one text a run, one session on all cores".to_owned(),
            Layout::Padded => {
                format!("exported graph, batches of {BATCH} as they come, one session on all cores")
            }
        }
    }

    fn embed(&self, texts: &[String], role: Role) -> Result<Rows> {
        let ids: Vec<Vec<u32>> = texts.iter().map(|text| self.ids(text, role)).collect::<Result<_>>()?;
        match self.layout {
            Layout::Alone => ids.iter().map(|ids| self.alone(ids)).collect(),
            Layout::Padded => {
                Ok(ids.chunks(BATCH).map(|batch| self.padded(batch)).collect::<Result<Vec<_>>>()?.concat())
            }
        }
    }
}

/// The sum and the mean point the same way: the norm takes the difference out.
fn normalised(mut vector: Vec<f32>) -> Vec<f32> {
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|value| *value /= norm);
    vector
}
