//! A stack whose vectors are a function of role and text, and which can be blocked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, Pooling, PrefixScheme,
    Result, Role, RowInfo, Space, TokenCount, Truncation, Variant, async_trait, vector,
};
use embed_gateway::{Token, Tokenizer};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// The most tokens of a text; a word is one, and two are special.
pub(crate) const MAX_TOKENS: usize = 512;
pub(crate) const DIMENSION: usize = 16;

#[derive(Debug)]
pub(crate) struct Double {
    info: ModelInfo,
    /// The model for texts with kana, if it is a router.
    japanese: Option<ModelInfo>,
    /// If set, each call consumes a permit.
    gate: Option<Arc<Semaphore>>,
    health: Mutex<Health>,
    pub(crate) calls: AtomicUsize,
    pub(crate) running: AtomicUsize,
    /// The most concurrent calls.
    pub(crate) peak: AtomicUsize,
    /// The number of rows of each call, in the order in which calls began.
    pub(crate) sizes: Mutex<Vec<usize>>,
}

pub(crate) fn model(name: &str) -> ModelInfo {
    let space =
        Space::builder(name, DIMENSION).prefixes(PrefixScheme::QueryPassage).pooling(Pooling::Mean).build();
    ModelInfo::builder("double", name, Variant::new(space, [("digest", "d")])).max_tokens(MAX_TOKENS).build()
}

/// The vector of a text.
pub(crate) fn vector_of(role: Role, text: &str) -> Vec<f32> {
    // The same with every toolchain, since golden files contain these numbers.
    let digest = Sha256::digest(format!("{role}: {text}"));
    let mut values: Vec<f32> =
        digest.chunks_exact(2).map(|two| f32::from(i16::from_le_bytes([two[0], two[1]]))).collect();
    assert_eq!(values.len(), DIMENSION);
    vector::normalise(&mut values);
    values
}

impl Double {
    pub(crate) fn new() -> Self {
        Self {
            info: model("double"),
            japanese: None,
            gate: None,
            health: Mutex::new(Health::ready()),
            calls: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            sizes: Mutex::new(Vec::new()),
        }
    }

    /// A router with two spaces.
    pub(crate) fn mixed() -> Self {
        Self { japanese: Some(model("japanese")), ..Self::new() }
    }

    /// A stack in which each call waits for a permit.
    pub(crate) fn gated(gate: &Arc<Semaphore>) -> Self {
        Self { gate: Some(Arc::clone(gate)), ..Self::new() }
    }

    pub(crate) fn set_health(&self, health: Health) {
        *self.health.lock().unwrap() = health;
    }

    fn row(&self, request: &EmbedRequest, text: &str) -> Result<(Vec<f32>, RowInfo)> {
        if text.trim().is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "the text is empty"));
        }
        match text {
            "crash" => return Err(Error::new(ErrorKind::Unavailable, "down at http://10.0.0.9").temporary()),
            "panic" => panic!("the secret text made it panic"),
            _ => {}
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let total = words.len() + 2;
        let room = MAX_TOKENS - 2;
        let read = match request.truncation() {
            _ if total <= MAX_TOKENS => &words[..],
            Truncation::Error => {
                return Err(Error::new(ErrorKind::InputTooLong, "the text is longer than the model reads")
                    .with_context("tokens", total));
            }
            Truncation::Start => &words[words.len() - room..],
            _ => &words[..room],
        };
        let kana = text.chars().any(|c| ('\u{3040}'..='\u{30ff}').contains(&c));
        let info = self.japanese.as_ref().filter(|_| kana).unwrap_or(&self.info);
        let mut row = RowInfo::new(info.clone());
        if text != "uncounted" {
            row = row.with_tokens(TokenCount { used: read.len() + 2, total });
        }
        row.tier = (text == "cached").then(|| "memory".into());
        let read = if read.len() == words.len() { text.to_owned() } else { read.join(" ") };
        Ok((vector_of(request.role(), &read), row))
    }
}

/// A tokenizer in which a word is a token whose id is its length.
#[derive(Debug)]
pub(crate) struct Words;

impl Tokenizer for Words {
    fn tokenise(&self, text: &str, role: Role) -> Result<Vec<Token>> {
        if text.trim().is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "the text is empty"));
        }
        let word = |word: &str| {
            let start = text.find(word).map(|at| text[..at].chars().count());
            let span = start.map(|start| start..start + word.chars().count());
            Token::new(word.len() as u32, word, false).with_span(span)
        };
        let prefix = [Token::new(0, "<s>", true), Token::new(8, format!("{role}:"), false)];
        let words = text.split_whitespace().map(word);
        Ok(prefix.into_iter().chain(words).chain([Token::new(2, "</s>", true)]).collect())
    }

    fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        if ids.contains(&99) {
            return Err(Error::new(ErrorKind::InvalidInput, "no token of the model has this id"));
        }
        let shown = ids.iter().filter(|id| !skip_special || ![0, 2].contains(*id));
        Ok(shown.map(|id| "x".repeat(*id as usize)).collect::<Vec<_>>().join(" "))
    }
}

struct Running<'a>(&'a Double);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Embedder for Double {
    fn model(&self) -> &ModelInfo {
        &self.info
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.sizes.lock().unwrap().push(request.texts().len());
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.peak.fetch_max(running, Ordering::SeqCst);
        let _running = Running(self);
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        if request.deadline().is_over(std::time::Instant::now()) {
            return Err(Error::new(ErrorKind::Timeout, "too late").temporary());
        }
        let mut response = EmbedResponse::builder(request.texts().len(), DIMENSION);
        for (index, text) in request.texts().iter().enumerate() {
            match self.row(&request, text) {
                Ok((values, info)) => response.put(index, &values, info),
                Err(error) => response.fail(index, error),
            }
        }
        Ok(response.build())
    }

    async fn health(&self) -> Health {
        self.health.lock().unwrap().clone()
    }
}
