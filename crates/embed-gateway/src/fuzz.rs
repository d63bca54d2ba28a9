//! What a fuzzer calls: each dialect's parser of bodies, and what must hold of whatever it lets through or refuses.
//!
//! It is compiled for the targets in `fuzz/` (feature `fuzzing`) and for the test below, which feeds their seeds.

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

/// The name that the seeds ask for.
const MODEL: &str = "m";
/// Few, so that a short body can hold too many.
const MOST_TEXTS: usize = 16;
/// Little, so that a short body can become too large.
const LARGEST_BODY: usize = 64 << 10;

/// The parsers of a gateway that serves nobody.
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
    /// As the others here: if something doesn't hold that must.
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
            // One sentence more than may be is the source.
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

    /// The body of any request under a `content-encoding`, which the first byte chooses, in pieces of the lengths that
    /// the next ones say. What comes out is bounded, and what goes wrong is the caller's fault.
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

    /// What holds of every dialect.
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

    /// The texts are those that another reader of JSON sees, once halves of pairs are replaced. What it can't read, such as a number beyond all bounds,
    /// may stand in a field that nobody looks at.
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

/// A refusal is the caller's fault, and its words are the dialect's.
fn refused(dialect: Dialect, failure: &Failure) {
    let response = render(failure, dialect);
    assert!(response.status().is_client_error(), "{} for a bad body", response.status());
    assert!(!failure.message.is_empty() && failure.message.len() < 1000, "{} bytes", failure.message.len());
}

/// Whether a body has these fields, no others, and is as `plain` says.
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

    /// The seeds of a target, and what a fuzzer has found with it.
    fn feed(target: &str, parse: fn(&Parsers, &[u8])) {
        let parsers = Parsers::new(Arc::new(Scripted::new(MODEL, 16))).unwrap();
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let seeds: Vec<_> = fs::read_dir(seeds).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!seeds.is_empty(), "{target} has no seeds");
        for seed in seeds {
            let body = fs::read(&seed).unwrap();
            parse(&parsers, &body);
            // What is cut off anywhere is no reason to fail either.
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
