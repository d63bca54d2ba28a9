//! The vector of a text doesn't depend on the form in which its characters are written.

use std::collections::HashMap;
use std::fs;

use embed_core::{EmbedRequest, EmbedResponse, Embedder, Role, Truncation};
use embed_e5::assets::{FileEntry, MANIFEST_NAME, TOKENIZER_FILE};
use embed_e5::{E5Config, E5Embedder, Precision, Profile};
use embed_testkit::data::{GREEK_AND_HINDI, udhr_in, with_nmt_nfkc};
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use serde_json::Value;

use crate::faults::copy_of;
use crate::{home, model};

fn nfc(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned()
}

fn nfd(text: &str) -> String {
    DecomposingNormalizerBorrowed::new_nfd().normalize(text).into_owned()
}

/// A text with half-width kana, and marks behind them, in the place of full-width ones.
fn half_width(text: &str) -> String {
    let half = |kana: char, mark: &str| format!("{kana}{mark}");
    let forms = ('ｦ'..='ﾝ').flat_map(|kana| ["", "ﾞ", "ﾟ"].map(|mark| half(kana, mark)));
    let full_to_half: HashMap<String, String> = forms
        .map(|half| (ComposingNormalizerBorrowed::new_nfkc().normalize(&half).into_owned(), half))
        .filter(|(full, _)| full.chars().count() == 1)
        .collect();
    let form = |c: char| full_to_half.get(&String::from(c)).cloned().unwrap_or_else(|| c.into());
    text.chars().map(form).collect()
}

async fn embed(e5: &E5Embedder, texts: &[String], role: Role) -> EmbedResponse {
    let request = EmbedRequest::new(texts.iter().map(String::as_str), role).with_truncation(Truncation::End);
    e5.embed(request).await.unwrap().into_complete().unwrap()
}

fn bits(response: &EmbedResponse) -> Vec<Vec<u32>> {
    let row = |vector: &[f32]| vector.iter().map(|value| value.to_bits()).collect();
    response.rows().map(|each| row(each.unwrap().vector())).collect()
}

/// Real sentences in Japanese, Korean, Vietnamese, French, Greek and Hindi.
fn sentences() -> Vec<String> {
    let articles = ["ja", "ko", "vi", "fr"].into_iter().flat_map(udhr_in);
    let sentences = articles.flat_map(|text| {
        let sentences = text.split_inclusive(['.', '。', '\n']).map(|part| part.trim().to_owned());
        sentences.filter(|part| part.chars().count() > 5).collect::<Vec<_>>()
    });
    let mut texts: Vec<_> = sentences.chain(GREEK_AND_HINDI.map(str::to_owned)).collect();
    texts.extend(
        ["データベースのクエリ", "パソコンのソフトウェア", "ガイドブックとポケット"].map(str::to_owned),
    );
    assert!(texts.len() >= 200, "{}", texts.len());
    texts
}

#[tokio::test]
async fn decomposed_and_half_width_texts_have_the_vectors_of_composed_and_full_width_ones() {
    let Some(e5) = model(Precision::Int8) else { return };
    let texts = sentences();
    let composed: Vec<_> = texts.iter().map(|text| nfc(text)).collect();
    let decomposed: Vec<_> = texts.iter().map(|text| nfd(text)).collect();
    let half: Vec<_> = composed.iter().map(|text| half_width(text)).collect();
    assert!(composed.iter().zip(&half).any(|(full, half)| full != half));
    let wanted = bits(&embed(&e5, &composed, Role::Document).await);
    for (how, forms) in [("decomposed", &decomposed), ("half width", &half)] {
        for (place, vector) in bits(&embed(&e5, forms, Role::Document).await).iter().enumerate() {
            assert!(*vector == wanted[place], "{how}: text {place} has another vector");
        }
    }
}

/// A folder of the hub has SentencePiece's own map, where that of the wheel was made from its replacements.
#[tokio::test]
async fn the_original_map_gives_the_same_vectors_in_both_forms() {
    let (Some(home), Some(e5)) = (home(), model(Precision::Int8)) else { return };
    let (_folder, copy) = copy_of(&home);
    let folder = copy.model_dir(&Profile::all()[0], Precision::Int8);
    let json = fs::read_to_string(folder.join(TOKENIZER_FILE)).unwrap();
    let original = with_nmt_nfkc(&json);
    assert_ne!(json, original);
    fs::write(folder.join(TOKENIZER_FILE), original).unwrap();
    let manifest = folder.join(MANIFEST_NAME);
    let mut noted: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let files = noted["files"].as_array_mut().unwrap();
    let tokenizer = files.iter_mut().find(|file| file["name"] == TOKENIZER_FILE).unwrap();
    *tokenizer = serde_json::to_value(FileEntry::of(&folder, TOKENIZER_FILE).unwrap()).unwrap();
    fs::write(&manifest, noted.to_string()).unwrap();
    let hub = E5Embedder::load(E5Config::default().with_home(copy)).await.unwrap();
    assert_ne!(hub.model().variant(), e5.model().variant());

    // Vietnamese is often half composed, and SentencePiece leaves it so: it is brought into a form first.
    let texts: Vec<_> = sentences().iter().map(|text| nfc(text)).collect();
    let wanted = bits(&embed(&e5, &texts, Role::Document).await);
    let decomposed = texts.iter().map(|text| nfd(text)).collect();
    for forms in [texts, decomposed] {
        for (place, vector) in bits(&embed(&hub, &forms, Role::Document).await).iter().enumerate() {
            assert!(*vector == wanted[place], "{:?} has another vector", forms[place]);
        }
    }
}

#[tokio::test]
async fn decomposed_and_half_width_queries_rank_documents_as_composed_ones() {
    let Some(e5) = model(Precision::Int8) else { return };
    let languages = ["ja", "ko", "vi", "fr", "es"];
    let documents: Vec<_> = languages.into_iter().chain(["en"]).flat_map(udhr_in).collect();
    let documents = embed(&e5, &documents, Role::Document).await;
    let beginning = |text: String| text.chars().take(40).collect::<String>();
    let mut queries: Vec<_> =
        languages.into_iter().flat_map(|language| udhr_in(language).into_iter().step_by(6).take(3)).collect();
    queries = queries.into_iter().map(beginning).collect();
    queries.extend(
        [
            "プライバシーとハラスメント",
            "ビジネスのルール",
            "グループとパートナー",
            "ヘルスケアとサービス",
            "デモとパレード",
        ]
        .map(str::to_owned),
    );
    assert_eq!(queries.len(), 20);
    let forms: [Vec<String>; 3] = [
        queries.iter().map(|text| nfc(text)).collect(),
        queries.iter().map(|text| nfd(text)).collect(),
        queries.iter().map(|text| half_width(&nfc(text))).collect(),
    ];
    let mut rankings = Vec::new();
    for form in &forms {
        let response = embed(&e5, form, Role::Query).await;
        let ranking = response.rows().map(|query| {
            let query = query.unwrap();
            let score = |place: usize| query.similarity(documents.row(place).unwrap()).unwrap();
            let mut places: Vec<_> = (0..documents.len()).collect();
            places.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
            places
        });
        rankings.push(ranking.collect::<Vec<_>>());
    }
    assert!(forms[0] != forms[1] && forms[0] != forms[2]);
    assert_eq!(rankings[0], rankings[1], "decomposed");
    assert_eq!(rankings[0], rankings[2], "half width");
}
