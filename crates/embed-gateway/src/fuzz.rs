//! Entry points for fuzzing: each dialect's body parser, with checks of what it accepts or refuses.
//!
//! Compiled for the targets in `fuzz/` (feature `fuzzing`) and for the test below, which runs their seeds.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use embed_core::{Embedder, Error, ErrorKind, Result};
use serde_json::Value as Json;
use tokio::runtime::Runtime;

use crate::api::native;
use crate::api::{Dialect, render};
use crate::api::{ollama, openai, tei};
use crate::body::decoded;
use crate::config::GatewayConfig;
use crate::failure::Failure;
use crate::hooks::Extensions;
use crate::models::ModelEntry;
use crate::request::GatewayRequest;
use crate::state::State;
use crate::surrogates::replace_unpaired_surrogates;

/// The model that the seeds name.
const MODEL: &str = "m";
/// Few, so that a short body can have too many.
const MOST_TEXTS: usize = 16;
/// Small, so that a short body can decompress to too much.
const LARGEST_BODY: usize = 64 << 10;

/// The parsers of a gateway that isn't served.
pub struct Parsers(State, Runtime);

impl Parsers {
    /// The parsers of a gateway over this stack, which is never called.
    ///
    /// # Errors
    ///
    /// As [`Gateway::start`](crate::Gateway::start).
    pub fn new(stack: Arc<dyn Embedder>) -> Result<Self> {
        let mut config = GatewayConfig::new([ModelEntry::new(MODEL, stack.model().clone())]);
        config.limits.rows = MOST_TEXTS;
        config.limits.body_bytes = LARGEST_BODY;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime =
            runtime.map_err(|error| Error::new(ErrorKind::Internal, "no runtime").with_source(error))?;
        Ok(Self(State::new(stack, config, Extensions::default())?, runtime))
    }

    /// `POST /v1/embeddings`.
    ///
    /// # Panics
    ///
    /// If a check fails, as in the other methods.
    pub fn openai(&self, body: &[u8]) {
        let parsed = openai::parse(body, &self.0).map(|(request, _)| request);
        self.check(Dialect::OpenAi, &parsed);
        self.agrees_with_serde(body, "input", parsed.as_ref().map(|request| &*request.texts));
        let plain = |body: &Json| body["model"] == MODEL && body["input"].as_str().is_some();
        if is_request_of(body, &["model", "input"], plain) {
            assert!(parsed.is_ok(), "a plain request is refused");
        }
    }

    /// `POST /api/embed` and `POST /api/embeddings`.
    pub fn ollama(&self, body: &[u8]) {
        let embed = ollama::parse_embed(body, &self.0).map(|(_, request, _)| request);
        self.check(Dialect::Ollama, &embed);
        let plain = |body: &Json| body["model"] == MODEL && body["input"].as_str().is_some();
        if is_request_of(body, &["model", "input"], plain) {
            assert!(embed.is_ok(), "a plain request is refused");
        }
        let embeddings = ollama::parse_embeddings(body, &self.0).map(|(request, _)| request);
        self.check(Dialect::Ollama, &embeddings);
        assert!(embeddings.map_or(0, |request| request.texts.len()) <= 1, "a prompt is one text");
    }

    /// `POST /embed`.
    pub fn tei(&self, body: &[u8]) {
        let parsed = tei::parse(body, &self.0).map(|(request, ..)| request);
        self.check(Dialect::Tei, &parsed);
        self.agrees_with_serde(body, "inputs", parsed.as_ref().map(|request| &*request.texts));
        if is_request_of(body, &["inputs"], |body| body["inputs"].as_str().is_some()) {
            assert!(parsed.is_ok(), "a plain request is refused");
        }
    }

    /// `POST /similarity`, `/tokenize` and `/decode`.
    pub fn tei_others(&self, body: &[u8]) {
        let parsed = tei::parse_similarity(body, &self.0);
        match &parsed {
            // One more than the limit, because the source is a text too.
            Ok(request) => {
                assert!((2..=MOST_TEXTS + 1).contains(&request.texts.len()), "{} texts", request.texts.len())
            }
            Err(failure) => refused(Dialect::Tei, failure),
        }
        let parsed = tei::parse_texts(body, &self.0).map(|asked| asked.texts);
        if let Err(failure) = &parsed {
            refused(Dialect::Tei, failure);
        }
        self.agrees_with_serde(body, "inputs", parsed.as_deref());
        if let Err(failure) = tei::parse_ids(body) {
            refused(Dialect::Tei, &failure);
        }
    }

    /// The body of any request with a `content-encoding` chosen by the first byte, in pieces whose length the second byte
    /// gives. The decoded size is bounded, and errors are the caller's fault.
    pub fn encoded(&self, bytes: &[u8]) {
        let [coding, piece, body @ ..] = bytes else { return };
        let names = ["gzip", "deflate", "identity", "gzip, gzip", "br", "X-GZIP", "", "\u{e9}"];
        let pieces: Vec<_> =
            body.chunks(usize::from(*piece) + 1).map(|piece| Ok::<_, Error>(piece.to_vec())).collect();
        let body = Body::from_stream(futures::stream::iter(pieces));
        let request =
            Request::post("/").header("content-encoding", names[usize::from(*coding) % names.len()]);
        let Ok(request) = request.body(body) else { return };
        let read = async { self.0.bodies.read(decoded(request)?.into_body()).await };
        match self.1.block_on(read) {
            Ok(received) => assert!(received.bytes.len() <= LARGEST_BODY),
            Err(failure) => refused(Dialect::Native, &failure),
        }
    }

    /// `POST /route` and `POST /embed/plan`.
    pub fn native(&self, body: &[u8]) {
        let parsed = native::PlanForm::read(body, &self.0).map(|form| form.texts);
        if let Err(failure) = &parsed {
            refused(Dialect::Native, failure);
        }
        self.agrees_with_serde(body, "input", parsed.as_deref());
    }

    /// Checks for every dialect.
    fn check(&self, dialect: Dialect, parsed: &Result<GatewayRequest, Failure>) {
        match parsed {
            Ok(request) => {
                let width = request.model.entry.info.dimension();
                assert!(request.texts.len() <= MOST_TEXTS, "{} texts", request.texts.len());
                assert!(request.dimension.is_none_or(|dimension| (1..=width).contains(&dimension)));
            }
            Err(failure) => refused(dialect, failure),
        }
    }

    /// Checks that the texts are those that serde_json reads, once unpaired surrogates are replaced. Bodies that it can't
    /// read are skipped: for example, an ignored field may have a number that is out of range.
    fn agrees_with_serde<E>(&self, body: &[u8], field: &str, texts: Result<&[Arc<str>], E>) {
        let body = replace_unpaired_surrogates(body);
        let (Ok(texts), Ok(json)) = (texts, serde_json::from_slice::<Json>(&body)) else { return };
        let seen: Vec<&str> = match &json[field] {
            Json::String(text) => vec![text],
            Json::Array(texts) => texts.iter().filter_map(Json::as_str).collect(),
            other => panic!("{field} was read out of {other}"),
        };
        assert!(texts.iter().map(|text| &**text).eq(seen), "other texts than were sent");
    }
}

/// Checks that a refusal is a client error in the dialect's shape.
fn refused(dialect: Dialect, failure: &Failure) {
    let response = render(failure, dialect);
    assert!(response.status().is_client_error(), "{} for a bad body", response.status());
    assert!(!failure.message.is_empty() && failure.message.len() < 1000, "{} bytes", failure.message.len());
}

/// Whether a body has exactly these fields and satisfies `plain`.
fn is_request_of(body: &[u8], fields: &[&str], plain: impl FnOnce(&Json) -> bool) -> bool {
    let Ok(json) = serde_json::from_slice::<Json>(body) else { return false };
    json.as_object().is_some_and(|object| object.keys().eq(fields)) && plain(&json)
}

impl fmt::Debug for Parsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parsers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use embed_testkit::Scripted;

    use super::*;

    /// Runs the seeds of a target, which include what the fuzzer has found.
    fn feed(target: &str, parse: fn(&Parsers, &[u8])) {
        let parsers = Parsers::new(Arc::new(Scripted::new(MODEL, 16))).unwrap();
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let seeds: Vec<_> = fs::read_dir(seeds).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!seeds.is_empty(), "{target} has no seeds");
        for seed in seeds {
            let body = fs::read(&seed).unwrap();
            parse(&parsers, &body);
            // Nor may a truncated body make it fail.
            (0..body.len()).for_each(|end| parse(&parsers, &body[..end]));
        }
    }

    #[test]
    fn the_seeds_of_the_fuzzer_hold() {
        feed("openai", Parsers::openai);
        feed("ollama", Parsers::ollama);
        feed("tei", Parsers::tei);
        feed("tei_others", Parsers::tei_others);
        feed("encoded", Parsers::encoded);
        feed("native", Parsers::native);
    }
}
