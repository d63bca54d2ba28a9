//! An embedder that a test controls: vectors that are a function of the text, scripted failures, a gate.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use embed_core::{
    Deadline, EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, PrefixScheme,
    Result, Role, RowInfo, SingleSpace, Space, TokenCount, TraceContext, Truncation, Variant, async_trait,
    vector,
};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::lock::lock;

/// A service with made-up vectors. Clones are the same service.
///
/// A vector depends on the model, the role and the words of the text that were read, and on nothing else, so that a
/// test can say what each row must be. A token is a word.
#[derive(Clone)]
pub struct Scripted {
    model: ModelInfo,
    /// What the numbers are made of, besides role and text.
    seed: Arc<str>,
    script: Arc<Mutex<ScriptedState>>,
    /// Whether calls may end.
    gate: Arc<watch::Sender<bool>>,
    /// Calls that have begun.
    begun: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct ScriptedState {
    call_error: Option<Error>,
    bad_words: Vec<(String, Error)>,
    delay: Duration,
    health: Option<Health>,
    seen: HashMap<(Arc<str>, Role), u64>,
    traces: Vec<TraceContext>,
}

impl Scripted {
    /// A service whose model has this name, with vectors of this width in a separate space.
    #[must_use]
    pub fn new(name: &str, dimension: usize) -> Self {
        let space = Space::builder(name, dimension).prefixes(PrefixScheme::QueryPassage).build();
        Self::of_variant(name, Variant::new(space, [("digest", "1")]))
    }

    /// A service of a variant; variants of one space have the same vectors.
    #[must_use]
    pub fn of_variant(name: &str, variant: Variant) -> Self {
        Self::of_model(ModelInfo::builder("scripted", name, variant).build())
    }

    /// A service of a model. If the model has a limit of tokens, longer texts are refused or cut as requested.
    #[must_use]
    pub fn of_model(model: ModelInfo) -> Self {
        Self {
            seed: model.space().id().into(),
            model,
            script: Arc::default(),
            gate: Arc::new(watch::channel(true).0),
            begun: Arc::new(watch::channel(0).0),
        }
    }

    /// The same numbers as those of another service, under the name of this one's space.
    #[must_use]
    pub fn with_numbers_of(mut self, other: &Self) -> Self {
        self.seed = Arc::clone(&other.seed);
        self
    }

    /// The vector of a text that isn't too long.
    #[must_use]
    pub fn vector(&self, text: &str, role: Role) -> Vec<f32> {
        let seed = Sha256::new_with_prefix(&*self.seed).chain_update([role as u8]).chain_update(text);
        let seed = seed.finalize();
        let mut numbers: Vec<f32> = (0..self.model.dimension().div_ceil(16) as u64)
            .flat_map(|block| Sha256::new_with_prefix(seed).chain_update(block.to_le_bytes()).finalize())
            .collect::<Vec<u8>>()
            .chunks_exact(2)
            .map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]])))
            .take(self.model.dimension())
            .collect();
        vector::normalise(&mut numbers);
        numbers
    }

    /// From now on each call fails with this error; with `None`, calls succeed again.
    pub fn fail_calls(&self, error: Option<Error>) {
        self.script().call_error = error;
    }

    /// From now on rows of texts that contain this word fail, too.
    pub fn fail_texts_with(&self, word: &str, error: Error) {
        let mut script = self.script();
        script.bad_words.retain(|(known, _)| known != word);
        script.bad_words.push((word.to_owned(), error));
    }

    /// How long each call takes from now on, in tokio's time.
    pub fn set_delay(&self, delay: Duration) {
        self.script().delay = delay;
    }

    /// The health that it reports from now on.
    pub fn set_health(&self, health: Health) {
        self.script().health = Some(health);
    }

    /// Lets calls begin, and none end before [`release`](Self::release).
    pub fn hold(&self) {
        self.gate.send_replace(false);
    }

    /// Lets calls end.
    pub fn release(&self) {
        self.gate.send_replace(true);
    }

    /// Waits until this many calls have begun since the service was made.
    pub async fn begun(&self, calls: u64) {
        // The sender lives as long as `self`.
        let _ = self.begun.subscribe().wait_for(|begun| *begun >= calls).await;
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        *self.begun.borrow()
    }

    /// Calls that have begun, and neither ended nor were dropped.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        // Each call waits at the gate with a separate receiver, which it keeps until it ends.
        self.gate.receiver_count()
    }

    /// How often a text was asked for.
    #[must_use]
    pub fn seen(&self, text: &str, role: Role) -> u64 {
        self.script().seen.get(&(text.into(), role)).copied().unwrap_or(0)
    }

    /// The trace of each call, in the order in which they began.
    #[must_use]
    pub fn traces(&self) -> Vec<TraceContext> {
        self.script().traces.clone()
    }

    /// Texts asked for so far.
    #[must_use]
    pub fn texts(&self) -> u64 {
        self.script().seen.values().sum()
    }

    fn row(&self, text: &str, request: &EmbedRequest) -> Result<(Vec<f32>, TokenCount)> {
        let script = self.script();
        if let Some((_, error)) = script.bad_words.iter().find(|(word, _)| text.contains(word)) {
            return Err(error.clone());
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "the text is empty"));
        }
        let total = words.len();
        let limit = self.model.max_tokens().unwrap_or(usize::MAX);
        if total <= limit {
            return Ok((self.vector(text, request.role()), TokenCount { used: total, total }));
        }
        let (text, used) = match request.truncation() {
            Truncation::End => (words[..limit].join(" "), limit),
            Truncation::Start => (words[total - limit..].join(" "), limit),
            Truncation::ChunkMean => (format!("chunks: {text}"), total),
            _ => return Err(Error::new(ErrorKind::InputTooLong, "the text is longer than the model reads")),
        };
        Ok((self.vector(&text, request.role()), TokenCount { used, total }))
    }

    fn script(&self) -> MutexGuard<'_, ScriptedState> {
        lock(&self.script)
    }
}

impl SingleSpace for Scripted {}

#[async_trait]
impl Embedder for Scripted {
    fn model(&self) -> &ModelInfo {
        &self.model
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        for text in request.texts() {
            *self.script().seen.entry((Arc::clone(text), request.role())).or_default() += 1;
        }
        self.script().traces.push(request.trace().clone());
        self.begun.send_modify(|begun| *begun += 1);
        let mut gate = self.gate.subscribe();
        let open = gate.wait_for(|open| *open);
        let deadline = request.deadline();
        let is_over = deadline.is_over(Instant::now().into_std());
        if is_over || deadline.limit(|at| sleep_until(at.into()), open).await.is_none() {
            return Err(Deadline::missed("the deadline is over"));
        }
        let delay = self.script().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if let Some(error) = self.script().call_error.clone() {
            return Err(error);
        }
        let mut rows = EmbedResponse::builder(request.texts().len(), self.model.dimension());
        for (index, text) in request.texts().iter().enumerate() {
            match self.row(text, &request) {
                Ok((vector, tokens)) => {
                    rows.put(index, &vector, RowInfo::new(self.model.clone()).with_tokens(tokens));
                }
                Err(error) => rows.fail(index, error),
            }
        }
        Ok(rows.build())
    }

    async fn health(&self) -> Health {
        self.script().health.clone().unwrap_or_else(Health::ready)
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").field("model", &self.model).finish_non_exhaustive()
    }
}

impl fmt::Display for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model.name())
    }
}
