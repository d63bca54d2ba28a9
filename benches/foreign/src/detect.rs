//! Detection of languages: ours, whatlang, whichlang and lingua in one process, in turns, over the same texts.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use embed_router::{Detector, LanguageDetector};
use lingua::LanguageDetectorBuilder;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Text {
    text: String,
    language: String,
}

/// A line of the output.
#[derive(Serialize)]
struct Measured {
    name: &'static str,
    /// Microseconds a text, one number a round.
    micros: Vec<f64>,
    /// Of a hundred texts, how many got their language.
    correct_percent: f64,
    supported_percent: f64,
}

/// A detector: the ISO 639-1 code of a text's language, or nothing.
type Detect = Box<dyn Fn(&str) -> Option<String>>;

pub(crate) fn run(path: &Path, rounds: usize) -> Result<()> {
    let file = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    let texts: Vec<Text> = file.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let detectors = detectors();
    let mut measured: Vec<Measured> = Vec::new();
    for (name, detect) in &detectors {
        let found: Vec<_> = texts.iter().map(|text| (detect(&text.text), &text.language)).collect();
        let correct = found.iter().filter(|(found, wanted)| found.as_ref() == Some(*wanted)).count();
        let some = found.iter().filter(|(found, _)| found.is_some()).count();
        let percent = |count: usize| 100.0 * count as f64 / texts.len() as f64;
        measured.push(Measured {
            name,
            micros: Vec::new(),
            correct_percent: percent(correct),
            supported_percent: percent(some),
        });
    }
    for _ in 0..rounds {
        for ((_, detect), measured) in detectors.iter().zip(&mut measured) {
            let began = Instant::now();
            for text in &texts {
                black_box(detect(black_box(&text.text)));
            }
            measured.micros.push(began.elapsed().as_secs_f64() * 1e6 / texts.len() as f64);
        }
    }
    for measured in &measured {
        println!("{}", serde_json::to_string(measured)?);
    }
    Ok(())
}

fn detectors() -> Vec<(&'static str, Detect)> {
    let ours = LanguageDetector::new();
    let lingua = LanguageDetectorBuilder::from_all_languages().with_preloaded_language_models().build();
    vec![
        ("embed-router", Box::new(move |text| Some(ours.detect(text).language.into_owned()))),
        (
            "whatlang",
            Box::new(|text| whatlang::detect_lang(text).map(|lang| two_letters(lang.code()).to_owned())),
        ),
        (
            "whichlang",
            Box::new(|text| {
                Some(two_letters(whichlang::detect_language(text).three_letter_code()).to_owned())
            }),
        ),
        (
            "lingua",
            Box::new(move |text| {
                lingua
                    .detect_language_of(text)
                    .map(|language| language.iso_code_639_1().to_string().to_lowercase())
            }),
        ),
    ]
}

/// ISO 639-1 for ISO 639-3, of the languages of the texts.
fn two_letters(code: &str) -> &str {
    match code {
        "ara" => "ar",
        "cmn" => "zh",
        "deu" => "de",
        "eng" => "en",
        "fra" => "fr",
        "hin" => "hi",
        "ind" => "id",
        "ita" => "it",
        "jpn" => "ja",
        "kor" => "ko",
        "por" => "pt",
        "rus" => "ru",
        "spa" => "es",
        "tha" => "th",
        "tur" => "tr",
        "vie" => "vi",
        other => other,
    }
}
