//! From a text to its vector: tokenise, run each window, mean, normalise.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use embed_core::{Error, ErrorKind, Role, Truncation, vector};
use ort::environment::Environment;

use crate::Precision;
use crate::assets::ModelFiles;
use crate::engine::{EncodeText, Encoder, RowOutput};
use crate::session::OrtEncoder;
use crate::tokenizer::{TextTokenizer, TokenisedText, starts_with_prefix};

/// A short text has too little to do for more threads than this: two take 0.7 of the time of one over a query,
/// and each further one has to be waited for after every product.
const MOST_WIDE_THREADS: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// What the threads of one embedder share.
pub(crate) struct Pipeline {
    pub(crate) environment: Environment,
    pub(crate) files: ModelFiles,
    pub(crate) dimension: usize,
    pub(crate) precision: Precision,
    /// Threads of a model that runs on several.
    pub(crate) threads: NonZeroUsize,
    /// Set before the first text comes.
    pub(crate) tokenizer: OnceLock<TextTokenizer>,
    pub(crate) counters: Counters,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    texts: AtomicU64,
    tokens: AtomicU64,
    truncated: AtomicU64,
    prefixed: AtomicU64,
}

/// What an embedder has done since it was loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct E5Stats {
    /// Texts embedded.
    pub texts: u64,
    /// Tokens that went through the model.
    pub tokens: u64,
    /// Texts of which a part was cut off, as the request asked.
    pub truncated: u64,
    /// Texts that already began with `query: ` or `passage: `. They are embedded as they stand after the
    /// role's own prefix; more than a few mean that a caller still adds prefixes by hand.
    pub prefixed_texts: u64,
}

impl Counters {
    pub(crate) fn read(&self) -> E5Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        E5Stats {
            texts: read(&self.texts),
            tokens: read(&self.tokens),
            truncated: read(&self.truncated),
            prefixed_texts: read(&self.prefixed),
        }
    }

    fn count(&self, text: &str, tokenised: &TokenisedText) {
        let tokens = tokenised.windows.iter().map(|window| window.ids.len() as u64).sum();
        self.texts.fetch_add(1, Ordering::Relaxed);
        self.tokens.fetch_add(tokens, Ordering::Relaxed);
        let truncated = tokenised.tokens.used < tokenised.tokens.total;
        self.truncated.fetch_add(truncated.into(), Ordering::Relaxed);
        self.prefixed.fetch_add(starts_with_prefix(text).into(), Ordering::Relaxed);
    }
}

impl Pipeline {
    fn encoder(&self, threads: NonZeroUsize) -> Result<Box<dyn Encoder>, Error> {
        let (model, dimension) = (&self.files.model, self.dimension);
        // A worker may open the model long after the embedder was loaded.
        self.files.verify_again()?;
        Ok(Box::new(OrtEncoder::open(&self.environment, model, dimension, self.precision, threads)?))
    }
}

impl EncodeText for Pipeline {
    fn open(&self) -> Result<Box<dyn Encoder>, Error> {
        self.encoder(NonZeroUsize::MIN)
    }

    fn open_wide(&self) -> Option<Box<dyn Encoder>> {
        match self.precision {
            // OpenVINO has threads of its own.
            #[cfg(feature = "openvino")]
            Precision::Bf16 => None,
            Precision::Int8 | Precision::F32 | Precision::Mixed => {
                self.encoder(self.threads.min(MOST_WIDE_THREADS)).ok()
            }
        }
    }

    fn tokenise(&self, text: &str, role: Role, truncation: Truncation) -> Result<TokenisedText, Error> {
        let tokenizer = self
            .tokenizer
            .get()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a text came before the tokenizer was loaded"))?;
        tokenizer.tokenise(text, role, truncation)
    }

    fn encode(
        &self,
        encoder: &mut dyn Encoder,
        texts: &[(&str, &TokenisedText)],
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<RowOutput>, Error> {
        if cancelled() {
            return Err(went_away());
        }
        let sums = match texts {
            [(_, text)] if text.windows.len() > 1 => vec![self.sum_of_windows(encoder, text, cancelled)?],
            _ => {
                let ids: Vec<_> =
                    texts.iter().filter_map(|(_, text)| text.only_window()).map(widened).collect();
                encoder.encode(&ids.iter().map(Vec::as_slice).collect::<Vec<_>>())?
            }
        };
        let row = |(mut vector, &(text, tokenised)): (Vec<f32>, &(&str, &TokenisedText))| {
            vector::normalise(&mut vector);
            self.counters.count(text, tokenised);
            RowOutput { vector, tokens: tokenised.tokens }
        };
        Ok(sums.into_iter().zip(texts).map(row).collect())
    }
}

impl Pipeline {
    /// The means of the windows of a text, each as often as it has tokens.
    fn sum_of_windows(
        &self,
        encoder: &mut dyn Encoder,
        text: &TokenisedText,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Vec<f32>, Error> {
        let mut sum = vec![0.0_f64; self.dimension];
        for window in &text.windows {
            if cancelled() {
                return Err(went_away());
            }
            for mean in encoder.encode(&[&widened(&window.ids)])? {
                for (sum, value) in sum.iter_mut().zip(mean) {
                    *sum += f64::from(value) * window.weight as f64;
                }
            }
        }
        Ok(sum.into_iter().map(|value| value as f32).collect())
    }
}

/// As ONNX Runtime takes them.
fn widened(ids: &[u32]) -> Vec<i64> {
    ids.iter().map(|&id| id.into()).collect()
}

fn went_away() -> Error {
    Error::new(ErrorKind::Timeout, "the caller went away")
}
