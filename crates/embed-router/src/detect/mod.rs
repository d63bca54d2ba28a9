//! Language detection.

mod sample;
mod script;
mod words;

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use serde::Serialize;

use sample::Sample;
use script::{Scan, Script};
use words::Tally;

/// Detects the language of a text. Implementations are deterministic: the same text has the same result in every
/// process.
pub trait Detector: Debug + Send + Sync + 'static {
    /// The language of a text, with the confidence and the rule that decided.
    fn detect(&self, text: &str) -> Detection;
}

impl<D: Detector + ?Sized> Detector for Arc<D> {
    fn detect(&self, text: &str) -> Detection {
        (**self).detect(text)
    }
}

/// The result of a [`Detector`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Detection {
    /// The kind, by which a router decides.
    pub kind: Kind,
    /// The main language as an ISO 639 code: two letters if there are any (`en`, `ja`), else three; `und` if
    /// unknown. It is only informative: a text whose language is `en` isn't [`Kind::En`] if it has a word that the
    /// English model doesn't support.
    pub language: Cow<'static, str>,
    /// The confidence of the language, from 0 to 1.
    pub confidence: f32,
    /// The rule that decided. `docs/detection.md` lists those of [`LanguageDetector`].
    pub rule: Cow<'static, str>,
}

impl Detection {
    /// A result of your own detector.
    #[must_use]
    pub fn new(
        kind: Kind,
        language: impl Into<Cow<'static, str>>,
        confidence: f32,
        rule: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, language: language.into(), confidence: confidence.clamp(0.0, 1.0), rule: rule.into() }
    }
}

/// The kind of a text, as far as it matters for choosing a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// English and nothing else.
    En,
    /// Japanese, possibly with single words of another language.
    Ja,
    /// English with words of another script.
    Mixed,
    /// Everything else, and undetermined texts.
    Other,
}

/// The default detector: it decides by the script if possible, otherwise by the words.
///
/// A text is [`Kind::En`] only if nearly all of its words are English and all letters are A to Z. When in doubt it is
/// [`Kind::Other`], because a multilingual model supports English too, while an English model gives a text in another
/// language a meaningless vector.
///
/// At most 6 KiB of a text are inspected (its beginning, which is what models read, its middle and its end), so that a
/// megabyte takes no longer than a page. It never fails or blocks; the first detector of a process takes a few
/// milliseconds to load the words.
///
/// ```
/// use embed_router::{Detector, Kind, LanguageDetector};
///
/// let detector = LanguageDetector::new();
/// assert_eq!(detector.detect("height of Mount Fuji").kind, Kind::En);
/// assert_eq!(detector.detect("富士山の高さ").kind, Kind::Ja);
/// assert_eq!(detector.detect("what does 木漏れ日 mean").kind, Kind::Mixed);
///
/// let french = detector.detect("la hauteur du mont Fuji et de ses voisins");
/// assert_eq!((french.kind, &*french.language), (Kind::Other, "fr"));
/// ```
#[derive(Debug, Clone)]
pub struct LanguageDetector {
    names: bool,
}

impl LanguageDetector {
    /// The default detector.
    #[must_use]
    pub fn new() -> Self {
        words::load();
        Self { names: true }
    }

    /// All its rules: the closed set of [`Detection::rule`].
    pub fn rules() -> impl Iterator<Item = &'static str> {
        const WORDS: [&str; 8] = [
            "empty",
            "english-with-other-script",
            "letter-variant",
            "diacritic",
            "no-words",
            "english-code",
            "english-words",
            "not-english",
        ];
        WORDS.into_iter().chain(script::rules())
    }

    /// Doesn't use whatlang to name languages in Latin letters other than English, which are then `und`. The kinds stay
    /// the same. This saves most of the time for such texts.
    #[must_use]
    pub fn without_names(mut self) -> Self {
        self.names = false;
        self
    }

    /// The language of a text in Latin letters that isn't English; unknown if whatlang isn't confident.
    fn name(&self, sample: &Sample<'_>) -> (&'static str, f32) {
        const LEAST: f64 = 0.5;
        if !self.names {
            return UNKNOWN;
        }
        match whatlang::detect(sample.beginning()) {
            Some(info) if info.confidence() >= LEAST => match two_letters(info.lang()) {
                // The words have ruled out English, and are more reliable.
                None | Some("en") => UNKNOWN,
                Some(language) => (language, info.confidence() as f32),
            },
            _ => UNKNOWN,
        }
    }
}

impl Default for LanguageDetector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector for LanguageDetector {
    fn detect(&self, text: &str) -> Detection {
        let Some(sample) = Sample::of(text) else {
            return Detection::new(Kind::Other, "und", 0.0, "empty");
        };
        let scan = Scan::of(&sample);
        if let Some(script) = scan.main() {
            return other_script(script, &scan, &sample);
        }
        if scan.variants > 0 {
            return Detection::new(Kind::Other, "und", 0.0, "letter-variant");
        }
        let tally = Tally::of(&sample);
        if scan.diacritics > 0 {
            let (language, confidence) =
                if tally.is_english() { ("en", tally.share()) } else { self.name(&sample) };
            return Detection::new(Kind::Other, language, confidence, "diacritic");
        }
        if tally.is_empty() {
            return Detection::new(Kind::Other, "und", 0.0, "no-words");
        }
        if tally.is_english() {
            let rule = if tally.is_code() { "english-code" } else { "english-words" };
            return Detection::new(Kind::En, "en", tally.share(), rule);
        }
        let (language, confidence) = self.name(&sample);
        Detection::new(Kind::Other, language, confidence, "not-english")
    }
}

const UNKNOWN: (&str, f32) = ("und", 0.0);

/// The result for a text with non-Latin letters: English around a few of them, or a text in that script.
fn other_script(script: Script, scan: &Scan, sample: &Sample<'_>) -> Detection {
    if scan.is_mostly_latin() {
        let tally = Tally::of(sample);
        // `GitHub Actions で image を build する` is Japanese because of its particles, however many English nouns it has.
        // So a text with hiragana must have English function words to be English.
        if tally.is_english() && (scan.hiragana == 0 || tally.has_grammar()) {
            return Detection::new(Kind::Mixed, "en", tally.share(), "english-with-other-script");
        }
    }
    let kind = if script == Script::Kana { Kind::Ja } else { Kind::Other };
    Detection::new(kind, script.language(), scan.confidence(script), script.rule())
}

/// The ISO 639-1 code of a language in Latin letters that whatlang detects.
fn two_letters(language: whatlang::Lang) -> Option<&'static str> {
    use whatlang::Lang;
    Some(match language {
        Lang::Afr => "af",
        Lang::Aka => "ak",
        Lang::Aze => "az",
        Lang::Cat => "ca",
        Lang::Ces => "cs",
        Lang::Cym => "cy",
        Lang::Dan => "da",
        Lang::Deu => "de",
        Lang::Eng => "en",
        Lang::Epo => "eo",
        Lang::Est => "et",
        Lang::Fin => "fi",
        Lang::Fra => "fr",
        Lang::Hrv => "hr",
        Lang::Hun => "hu",
        Lang::Ind => "id",
        Lang::Ita => "it",
        Lang::Jav => "jv",
        Lang::Lat => "la",
        Lang::Lav => "lv",
        Lang::Lit => "lt",
        Lang::Nld => "nl",
        Lang::Nob => "nb",
        Lang::Pol => "pl",
        Lang::Por => "pt",
        Lang::Ron => "ro",
        Lang::Slk => "sk",
        Lang::Slv => "sl",
        Lang::Sna => "sn",
        Lang::Spa => "es",
        Lang::Swe => "sv",
        Lang::Tgl => "tl",
        Lang::Tuk => "tk",
        Lang::Tur => "tr",
        Lang::Uzb => "uz",
        Lang::Vie => "vi",
        Lang::Zul => "zu",
        _ => return None,
    })
}
