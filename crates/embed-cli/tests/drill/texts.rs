//! What the load asks for, and what must come back: the vector that a text had before the outage, in its space.

use std::sync::Arc;

use embed_core::vector::cosine;
use embed_testkit::ollama::words;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::http::{Reply, ask, request};
use crate::serving::{Serving, has_e5};

/// Below it, a row is another text's or another model's: rounding and batches stay above.
const SAME: f32 = 0.9999;
const MINILM: &str = "all-minilm/mean/plain/l2/384";

/// A text, and the row that it had.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) text: Arc<str>,
    space: Arc<str>,
    vector: Arc<[f32]>,
}

/// The texts of a load: some again and again, so that the cache has a say, and new ones, so that the back end has.
#[derive(Debug, Clone)]
pub(crate) struct Texts {
    pub(crate) model: &'static str,
    known: Vec<Known>,
    /// Whether the double embeds, whose vector of any text is known.
    of_double: bool,
}

impl Texts {
    /// Texts for the double: every second one is new.
    pub(crate) fn of_double() -> Self {
        let known = (0..24).map(|number| Known::of_double(&format!("the depth of lake {number}"))).collect();
        Self { model: "all-minilm", known, of_double: true }
    }

    /// Texts for E5, as a gateway without a cache embeds them; `None`, said aloud, where the model isn't.
    pub(crate) async fn of_e5() -> Option<Self> {
        static TEXTS: OnceCell<Texts> = OnceCell::const_new();
        if !has_e5() {
            return None;
        }
        let texts = TEXTS.get_or_init(async || {
            let before = Serving::start(&["--service", "e5"], &[("TMWS_CACHE", "off")]);
            Self::of_gateway(&before, "multilingual-e5-small", |number| format!("{number} 番目の湖の深さ"))
                .await
        });
        Some(texts.await.clone())
    }

    /// Texts as this gateway, which has no cache, embeds them now.
    pub(crate) async fn of_gateway(before: &Serving, model: &'static str, text: fn(u32) -> String) -> Self {
        let mut known = Vec::new();
        for text in (0..24).map(text) {
            let reply = ask(before.url(), embedding(model, &text)).await.unwrap();
            let vector = vector(&reply).unwrap_or_else(|| panic!("{}", reply.text()));
            let space = reply.header("x-embed-space").into();
            known.push(Known { text: text.into(), space, vector: vector.into() });
        }
        Self { model, known, of_double: false }
    }

    /// The texts of both, for a gateway that chooses.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.known.extend(other.known);
        self.model = "auto";
        self.of_double = false;
        self
    }

    /// The text of that number.
    pub(crate) fn number(&self, number: u64) -> Known {
        if self.of_double && number.is_multiple_of(2) {
            return Known::of_double(&format!("text {number} of the load"));
        }
        self.known[(number / 2) as usize % self.known.len()].clone()
    }
}

impl Known {
    fn of_double(text: &str) -> Self {
        let vector = words::vector(text, 384, 0.0);
        Self { text: text.into(), space: MINILM.into(), vector: vector.into() }
    }

    /// Whether an answer is this text's row.
    pub(crate) fn is(&self, reply: &Reply) -> bool {
        let same = |vector: &[f32]| {
            vector.len() == self.vector.len()
                && (*vector == *self.vector || cosine(vector, &self.vector).is_ok_and(|found| found >= SAME))
        };
        reply.header("x-embed-space") == &*self.space && vector(reply).is_some_and(|vector| same(&vector))
    }

    /// Whether it is the double's, and so English.
    pub(crate) fn is_english(&self) -> bool {
        &*self.space == MINILM
    }
}

pub(crate) fn embedding(model: &str, text: &str) -> hyper::Request<http_body_util::Full<hyper::body::Bytes>> {
    request("POST", "/v1/embeddings", json!({ "model": model, "input": text }).to_string())
}

fn vector(reply: &Reply) -> Option<Vec<f32>> {
    let mut json: Value = serde_json::from_slice(&reply.body).ok()?;
    serde_json::from_value(json["data"][0]["embedding"].take()).ok()
}
