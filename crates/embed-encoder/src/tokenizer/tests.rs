//! Ids of the real vocabulary, against the reference, the library, and SentencePiece's own map.

use std::collections::BTreeMap;
use std::fs;

use embed_testkit::data::{
    GREEK_AND_HINDI, e5_small_reference, mixed_texts, nmt_nfkc, udhr_in, with_nmt_nfkc,
};
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use tokenizers::Tokenizer;

mod sentencepiece;

use super::charsmap::Charsmap;
use super::*;
use crate::assets::{DataHome, ModelFiles};
use crate::{Precision, Profile};

/// The tokenizer of the model in the data folder.
fn json() -> Option<String> {
    let home = DataHome::from_env().unwrap();
    let files = ModelFiles::open(&home, &Profile::all()[0], Precision::Int8);
    let files = embed_testkit::require("multilingual-e5-small (int8)", files)?;
    Some(fs::read_to_string(files.tokenizer).unwrap())
}

fn open(json: &str) -> TextTokenizer {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), json).unwrap();
    TextTokenizer::open(file.path(), &Profile::all()[0], 1 << 20).unwrap()
}

fn tokenizer() -> Option<TextTokenizer> {
    json().map(|json| open(&json))
}

/// From the wheel's map and from SentencePiece's own.
fn both_tokenizers() -> Option<[TextTokenizer; 2]> {
    let json = json()?;
    Some([open(&json), open(&with_nmt_nfkc(&json))])
}

fn nfc(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned()
}

fn nfd(text: &str) -> String {
    DecomposingNormalizerBorrowed::new_nfd().normalize(text).into_owned()
}

fn normalise(map: &Charsmap, text: &str) -> String {
    let (mut at, mut normalised) = (0, String::new());
    while at < text.len() {
        let (length, form) = map.next(&text[at..]);
        normalised += form;
        at += length;
    }
    normalised
}

fn charsmap(tokenizer: &TextTokenizer) -> &Charsmap {
    match &tokenizer.ids {
        TokenizerKind::Unigram(unigram) => &unigram.charsmap,
        TokenizerKind::Library(_) => panic!("the multilingual models have a Unigram vocabulary"),
    }
}

/// More than 200 sentences in Japanese, Korean, Vietnamese, French, Greek and Hindi.
fn sentences() -> Vec<String> {
    let articles = ["ja", "ko", "vi", "fr"].into_iter().flat_map(udhr_in);
    let split = articles.flat_map(|text| {
        let sentences = text.split_inclusive(['.', '。', '\n']).map(|part| part.trim().to_owned());
        sentences.filter(|sentence| sentence.chars().count() > 5).collect::<Vec<_>>()
    });
    split.chain(GREEK_AND_HINDI.map(str::to_owned)).collect()
}

#[test]
fn decomposed_text_has_the_ids_of_composed_text() {
    let Some(tokenizers) = both_tokenizers() else { return };
    let sentences = sentences();
    assert!(sentences.len() >= 200, "{}", sentences.len());
    let decomposed = sentences.iter().filter(|text| nfd(text) != nfc(text)).count();
    assert!(decomposed >= 150, "{decomposed} have two forms");
    for tokenizer in &tokenizers {
        for text in &sentences {
            let ids = |text: &str| tokenizer.tokenise(text, Role::Query, Truncation::End).unwrap();
            assert_eq!(ids(&nfd(text)), ids(&nfc(text)), "{text:?}");
        }
    }
}

#[test]
fn forms_of_one_text_have_the_same_ids() {
    let Some(tokenizers) = both_tokenizers() else { return };
    let pairs = [
        ("ﾃﾞｰﾀﾍﾞｰｽ", "データベース"),
        ("ﾊﾝｶｸ ｶﾞﾀｶﾅ", "ハンカク ガタカナ"),
        ("データベースのクエリ", "テ\u{3099}ータヘ\u{3099}ースのクエリ"),
        ("ﾊﾟｿｺﾝ", "ハ\u{309a}ソコン"),
        ("ｗｉｄｅ　１２", "wide 12"),
        ("㍿", "株式会社"),
        ("a\u{a0}b\u{200b}c\u{200c}d\u{feff}e", "a b c d e"),
        ("Ａ\u{301}", "Á"),
        ("ﾡￂ", "가"),
    ];
    for tokenizer in &tokenizers {
        let ids = |text: &str| tokenizer.ids.encode(text).unwrap();
        for (left, right) in pairs {
            assert_eq!(ids(left), ids(right), "{left:?}");
        }
        // Each of them, before and behind.
        let plain = tokenizer.tokenise("two words", Role::Query, Truncation::Error).unwrap();
        for space in (0..=0x3000).filter_map(char::from_u32).filter(|c| c.is_whitespace()) {
            let text = format!("{space}{space}two{space} words{space} ");
            if space != '\u{85}' {
                assert_eq!(
                    tokenizer.tokenise(&text, Role::Query, Truncation::Error).unwrap(),
                    plain,
                    "{text:?}"
                );
            }
            let text = format!("{space} two words\n{space}");
            assert_eq!(tokenizer.tokenise(&text, Role::Query, Truncation::Error).unwrap(), plain, "{text:?}");
        }
    }
}

#[test]
fn ids_are_those_of_the_reference() {
    let Some(tokenizer) = tokenizer() else { return };
    let mut compared = 0;
    for row in e5_small_reference() {
        let role: Role = row.role.parse().unwrap();
        let tokenised = tokenizer.tokenise(&row.text, role, Truncation::End).unwrap();
        // The reference has a token for white space at the end; SentencePiece, and so the training, has not.
        let space = usize::from(row.text.trim_end() != row.text);
        assert_eq!(tokenised.tokens.used, row.tokens - space);
        let [window] = &tokenised.windows[..] else { panic!("one window") };
        if let Some(mut ids) = row.token_ids {
            if space == 1 {
                assert_eq!(ids.remove(ids.len() - 2), 6, "the metaspace");
            }
            assert_eq!(window.ids, ids, "role {role}, {} bytes", row.text.len());
            compared += 1;
        }
    }
    assert_eq!(compared, 41);
}

/// On composed text without white space at its ends. Elsewhere they differ on purpose: the library looks sequences up
/// grapheme by grapheme, and only graphemes below six bytes, and has tokens for white space at the ends. The models
/// were trained with neither.
#[test]
fn ids_are_those_of_the_library() {
    let Some(json) = json() else { return };
    let tokenizer = open(&json);
    let library = Tokenizer::from_bytes(&json).unwrap();
    let odd = [
        "",
        "two  spaces",
        "▁▁mark▁in▁text",
        "tab\tand\nline",
        "①②③ ﬁ ㌔",
        "\u{10ffff}\u{e000}x\u{e000}",
        "👨‍👩‍👧 👍🏽",
        "नमस्ते दुनिया",
        "สวัสดีชาวโลก",
        "مرحبا بالعالم",
        "ﷺ ﷻ",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    let texts = mixed_texts(400).into_iter().chain(odd.map(str::to_owned));
    for text in texts {
        let text = nfc(text.trim());
        let theirs = library.encode_fast(text.as_str(), false).unwrap();
        assert_eq!(tokenizer.ids.encode(&text).unwrap(), theirs.get_ids(), "{text:?}");
    }
    for text in ["テ\u{3099}ータ", "\u{1112}\u{1161}\u{11ab}", " space "] {
        let theirs = library.encode_fast(text, false).unwrap();
        assert_ne!(tokenizer.ids.encode(text).unwrap(), theirs.get_ids(), "{text:?}");
    }
}

#[test]
fn a_text_that_spells_a_special_token_is_text() {
    let Some(tokenizer) = tokenizer() else { return };
    let tokenised = tokenizer.tokenise("a </s> b <s>", Role::Query, Truncation::Error).unwrap();
    let ids = &tokenised.windows[0].ids;
    let specials = ids.iter().filter(|&&id| id == 0 || id == 2).count();
    assert_eq!(specials, 2, "{ids:?}");
}

#[test]
fn no_window_is_too_long_and_none_loses_a_token() {
    let Some(tokenizer) = tokenizer() else { return };
    let long = mixed_texts(300).join(" ");
    let check = |policy, role| tokenizer.tokenise(&long, role, policy).unwrap();
    let (end, start) = (check(Truncation::End, Role::Query), check(Truncation::Start, Role::Query));
    for cut in [&end, &start] {
        assert_eq!(cut.windows[0].ids.len(), 512);
        assert_eq!(cut.tokens.used, 512);
    }
    assert_eq!(end.windows[0].ids[..4], start.windows[0].ids[..4], "the prefix stays at the front");
    let all = tokenizer.ids.encode(&long).unwrap();
    let around = end.windows[0].ids.len() - end.windows[0].weight;
    assert_eq!(end.windows[0].ids[around - 1..511], all[..512 - around]);
    assert_eq!(start.windows[0].ids[around - 1..511], all[all.len() - (512 - around)..]);
    assert_eq!(end.tokens.total, all.len() + around);
    assert_eq!(start.tokens.total, all.len() + around);

    let chunks = check(Truncation::ChunkMean, Role::Document);
    assert!(chunks.windows.iter().all(|window| window.ids.len() <= 512));
    let body: usize = chunks.windows.iter().map(|window| window.weight).sum();
    let around = chunks.windows[0].ids.len() - chunks.windows[0].weight;
    assert_eq!(body + around, chunks.tokens.total);
    let sizes = chunks.windows.iter().map(|window| window.weight);
    assert!(sizes.clone().min() > sizes.max().map(|most| most / 2), "chunks are of even size");
    let error = tokenizer.tokenise(&long, Role::Query, Truncation::Error).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InputTooLong);
}

#[test]
fn what_is_no_text_is_refused_in_words() {
    let Some(tokenizer) = tokenizer() else { return };
    // The last two are zero-width spaces and control characters: the normaliser leaves nothing of them.
    for text in ["", " ", "\t\u{3000}\n", "a\0", "\u{200b}\u{1}", "\u{feff}\u{200e}"] {
        let error = tokenizer.tokenise(text, Role::Query, Truncation::Error).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
    }
}

/// Texts that put the most in the way of reading piece by piece, of some 50 KiB.
fn hostile() -> Vec<String> {
    vec![
        "ﷺ".repeat(20_000),
        "a".repeat(50_000),
        "\u{301}".repeat(30_000),
        "が".repeat(20_000),
        nfd(&"データベース".repeat(1500)),
        mixed_texts(200).concat().split_whitespace().collect(),
        format!("{}\u{200d}{}", "🙂".repeat(9000), "ab".repeat(9000)),
        "\u{1}".repeat(50_000) + "x",
        "x ".repeat(25_000),
    ]
}

#[test]
fn pieces_of_a_text_have_the_ids_of_the_whole() {
    let Some(tokenizer) = tokenizer() else { return };
    for (number, text) in hostile().into_iter().chain([mixed_texts(60).join("\n")]).enumerate() {
        let text: Arc<str> = text.into();
        let whole = tokenizer.tokenise(&text, Role::Document, Truncation::ChunkMean).unwrap();
        for bytes in [1, 7, 1000] {
            let mut state =
                tokenizer.begin(Arc::clone(&text), Role::Document, Truncation::ChunkMean).unwrap();
            let pieces = loop {
                if let Some(pieces) = tokenizer.advance(&mut state, bytes).unwrap() {
                    break pieces;
                }
            };
            assert!(pieces == whole, "text {number} in pieces of {bytes} bytes");
        }
    }
}

/// The search over a whole word that nothing is dropped of, as SentencePiece does it.
fn plain_search(vocabulary: &BTreeMap<String, (u32, f64)>, unknown: (u32, f64), word: &str) -> Vec<u32> {
    let starts: Vec<_> = word.char_indices().map(|(at, _)| at).chain([word.len()]).collect();
    let mut best: Vec<Option<(f64, usize, u32)>> = vec![None; starts.len()];
    best[0] = Some((0.0, 0, 0));
    for from in 0..starts.len() - 1 {
        let (so_far, ..) = best[from].unwrap();
        let mut known = false;
        for to in from + 1..starts.len().min(from + 17) {
            let piece = vocabulary.get(&word[starts[from]..starts[to]]);
            known |= piece.is_some() && to == from + 1;
            if let Some(&(id, score)) = piece
                && best[to].is_none_or(|(sum, ..)| so_far + score > sum)
            {
                best[to] = Some((so_far + score, from, id));
            }
        }
        let sum = so_far + unknown.1;
        if !known && best[from + 1].is_none_or(|(best, ..)| sum > best) {
            best[from + 1] = Some((sum, from, unknown.0));
        }
    }
    let (mut ids, mut at) = (Vec::new(), starts.len() - 1);
    while at > 0 {
        let (_, from, id) = best[at].unwrap();
        if id != unknown.0 || ids.last() != Some(&id) {
            ids.push(id);
        }
        at = from;
    }
    ids.reverse();
    ids
}

#[test]
fn the_search_over_a_long_word_is_that_over_the_whole() {
    #[derive(serde::Deserialize)]
    struct File {
        model: Model,
    }
    #[derive(serde::Deserialize)]
    struct Model {
        vocab: Vec<(String, f64)>,
    }
    let Some(json) = json() else { return };
    let tokenizer = open(&json);
    let vocab = serde_json::from_str::<File>(&json).unwrap().model.vocab;
    let lowest = vocab.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
    let vocabulary: BTreeMap<_, _> =
        (0..).zip(vocab).skip(4).map(|(id, (piece, score))| (piece, (id, score))).collect();
    for (number, text) in hostile().iter().enumerate() {
        let normalised = normalise(charsmap(&tokenizer), text);
        let words = normalised.split(' ').filter(|word| !word.is_empty());
        let wanted: Vec<_> = words
            .flat_map(|word| plain_search(&vocabulary, (3, lowest - 10.0), &format!("▁{word}")))
            .collect();
        assert!(tokenizer.ids.encode(text).unwrap() == wanted, "text {number}");
    }
}

/// A tokenizer of the English models' kind, over a few words and all letters.
fn bert() -> serde_json::Value {
    let words =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "query", "passage", "the", "of", "right", "##s"];
    let letters = ('!'..='~').flat_map(|c| [c.to_string(), format!("##{c}")]);
    let chinese = ["人", "權"].map(str::to_owned);
    let vocab: BTreeMap<String, usize> =
        words.map(str::to_owned).into_iter().chain(letters).chain(chinese).zip(0..).collect();
    let added = |id: usize, content: &str| {
        serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    serde_json::json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [added(2, "[CLS]"), added(3, "[SEP]"), added(4, "[MASK]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab},
    })
}

#[test]
fn an_english_text_that_spells_a_special_token_is_text() {
    let tokenizer = open(&bert().to_string());
    let ids =
        |text: &str| tokenizer.tokenise(text, Role::Query, Truncation::Error).unwrap().windows[0].ids.clone();
    let spelt = ids("a [SEP] b [MASK]");
    assert_eq!(spelt.iter().filter(|&&id| id == 3).count(), 1, "{spelt:?}");
    assert_eq!(spelt, ids("a [sep] b [mask]"));
    assert_eq!((spelt[0], spelt.last()), (2, Some(&3)));
}

#[test]
fn pieces_of_an_english_text_have_the_ids_of_the_whole() {
    let json = bert().to_string();
    let tokenizer = open(&json);
    let library = Tokenizer::from_bytes(&json).unwrap();
    let texts = [
        mixed_texts(120).join(" "),
        mixed_texts(120).join("\t"),
        "人權".repeat(9000),
        "a-b,".repeat(9000),
        "é\u{301}. ".repeat(9000),
        format!("{} {}", "x".repeat(7000), "y".repeat(8000)),
    ];
    for (number, text) in texts.iter().enumerate() {
        assert!(text.len() > 10_000);
        let theirs = library.encode_fast(text.as_str(), false).unwrap();
        assert!(tokenizer.ids.encode(text).unwrap() == theirs.get_ids(), "text {number}");
    }
    // No word has a thousand letters: it is unknown, once for each stretch in which it is read.
    assert_eq!(tokenizer.ids.encode(&"x".repeat(1 << 20)).unwrap(), [1; 128]);
}
