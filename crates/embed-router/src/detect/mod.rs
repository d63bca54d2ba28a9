//! Which language a text is in, and by which rule that was found.

use std::fmt::Debug;

use serde::Serialize;

/// Finds the language of a text. Implementations are deterministic: the same text gives the same answer, in every
/// process.
pub trait Detector: Debug + Send + Sync + 'static {
    /// The language of a text, with how sure that is and why.
    fn detect(&self, text: &str) -> Detection;
}

/// What a [`Detector`] found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Detection {
    /// What a router decides by.
    pub kind: Kind,
    /// The language, as an ISO 639 code: two letters where there are (`en`, `ja`), else three; `und` if unknown.
    pub language: &'static str,
    /// From 0 to 1.
    pub confidence: f32,
    /// The rule that decided.
    pub rule: &'static str,
}

impl Detection {
    /// What a detector of one's own found.
    #[must_use]
    pub fn new(kind: Kind, language: &'static str, confidence: f32, rule: &'static str) -> Self {
        Self { kind, language, confidence, rule }
    }
}

/// What a text is, as far as choosing a model goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// English and nothing else.
    En,
    /// Japanese, also with single words of another language in it.
    Ja,
    /// English with words of another script in it.
    Mixed,
    /// Everything else, and what nobody can tell.
    Other,
}
