//! Real texts and reference vectors.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// A text with the vector and, for most, the token ids that it must get. See `data/README.md`.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct ReferenceRow {
    /// The text, without prefix.
    pub text: String,
    /// `query` or `document`.
    pub role: String,
    /// The number of tokens in the vector; longer texts are cut at the end.
    pub tokens: usize,
    /// The ids, where they are listed.
    #[serde(default)]
    pub token_ids: Option<Vec<u32>>,
    /// The vector, of norm 1.
    pub embedding: Vec<f32>,
}

/// An article of the Universal Declaration of Human Rights in one language.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Article {
    /// Language tag (BCP 47).
    pub language: String,
    /// 1 to 30.
    pub article: usize,
    /// The text.
    pub text: String,
}

/// The 48 reference rows of multilingual-e5-small.
///
/// # Panics
///
/// If the file that is compiled in is damaged.
#[must_use]
pub fn e5_small_reference() -> Vec<ReferenceRow> {
    #[derive(Deserialize)]
    struct ReferenceFile {
        rows: Vec<ReferenceRow>,
    }
    let file: ReferenceFile = serde_json::from_str(include_str!("../data/e5-small-reference.json"))
        .expect("the reference rows are valid JSON");
    file.rows
}

/// The 30 articles of the Declaration in 15 languages.
///
/// # Panics
///
/// If the file that is compiled in is damaged.
#[must_use]
pub fn udhr() -> Vec<Article> {
    include_str!("../data/udhr.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("the articles are valid JSON"))
        .collect()
}

/// SentencePiece's original map `nmt_nfkc`, as `SentencePieceNormalizer(rule_name="nmt_nfkc")` of PyPI `sentencepiece` 0.2.3
/// holds it. See `data/README.md`.
#[must_use]
pub fn nmt_nfkc() -> &'static [u8] {
    include_bytes!("../data/nmt_nfkc.charsmap")
}

/// The `tokenizer.json` as the hub has it: with SentencePiece's [original map](nmt_nfkc) instead of the map in it.
///
/// # Panics
///
/// If it has no map.
#[must_use]
pub fn with_nmt_nfkc(json: &str) -> String {
    let name = "\"precompiled_charsmap\":\"";
    let start = json.find(name).expect("the tokenizer has a map") + name.len();
    let end = start + json[start..].find('"').expect("a string ends");
    [&json[..start], &STANDARD.encode(nmt_nfkc()), &json[end..]].concat()
}

/// Sentences in Greek and Hindi, which the fifteen languages lack.
pub const GREEK_AND_HINDI: [&str; 20] = [
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "Είναι προικισμένοι με λογική και συνείδηση, και οφείλουν να συμπεριφέρονται με πνεύμα αδελφοσύνης.",
    "Κάθε άτομο έχει δικαίωμα στη ζωή, την ελευθερία και την προσωπική του ασφάλεια.",
    "Η δουλεία και το δουλεμπόριο υπό οποιαδήποτε μορφή απαγορεύονται.",
    "Κανείς δεν επιτρέπεται να υποβάλλεται σε βασανιστήρια ούτε σε ποινή σκληρή, απάνθρωπη ή ταπεινωτική.",
    "Καθένας, όπου και αν βρίσκεται, έχει δικαίωμα στην αναγνώριση της νομικής του προσωπικότητας.",
    "Όλοι είναι ίσοι απέναντι στον νόμο και έχουν δικαίωμα σε ίση προστασία του νόμου.",
    "Κανείς δεν μπορεί να συλλαμβάνεται, να κρατείται ή να εξορίζεται αυθαίρετα.",
    "Ἐν ἀρχῇ ἦν ὁ λόγος, καὶ ὁ λόγος ἦν πρὸς τὸν θεόν, καὶ θεὸς ἦν ὁ λόγος.",
    "Το προϊόν ταΐζει τη γαϊδουρινή υπομονή του Ιουλίου· ΰστερα βρέχει.",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।",
    "प्रत्येक व्यक्ति को जीवन, स्वाधीनता और वैयक्तिक सुरक्षा का अधिकार है।",
    "कोई भी ग़ुलामी या दासता की हालत में न रखा जाएगा।",
    "किसी को भी शारीरिक यातना न दी जाएगी।",
    "हर किसी को हर जगह क़ानून की निगाह में व्यक्ति के रूप में स्वीकृति-प्राप्ति का अधिकार है।",
    "क़ानून की निगाह में सभी समान हैं और सभी बिना भेदभाव के समान क़ानूनी सुरक्षा के अधिकारी हैं।",
    "किसी को भी मनमाने ढंग से गिरफ़्तार, नज़रबन्द या देश-निष्कासित न किया जाएगा।",
    "लड़का बाज़ार से फल और सब्ज़ी ख़रीदकर शाम से पहले घर लौट आया।",
    "पढ़ाई के बाद ढेर सारे बच्चे बड़े मैदान में खेलते हैं।",
];

/// The articles of one language, 1 to 30.
#[must_use]
pub fn udhr_in(language: &str) -> Vec<String> {
    let mut articles: Vec<_> = udhr().into_iter().filter(|article| article.language == language).collect();
    articles.sort_by_key(|article| article.article);
    articles.into_iter().map(|article| article.text).collect()
}

/// This many texts of mixed length and language, always the same: short queries of a few words, complete
/// articles, and passages of several articles, in the fifteen languages.
#[must_use]
pub fn mixed_texts(count: usize) -> Vec<String> {
    let articles = udhr();
    (0..count)
        .map(|i| {
            // A step that shares no factor with the number of articles visits all of them.
            let at = |n: usize| &articles[(i * 7 + n) % articles.len()];
            let text = &at(0).text;
            // The number makes every text different.
            match i % 4 {
                0 => format!("{} {i}", first_words(text, 3 + i % 5)),
                1 | 2 => format!("{i}. {text}"),
                _ => (0..1 + i % 9).fold(format!("{i}."), |passage, n| passage + "\n" + &at(n).text),
            }
        })
        .collect()
}

/// The first words of a text; in scripts without spaces, about as much text.
fn first_words(text: &str, words: usize) -> String {
    let by_space: Vec<_> = text.split_whitespace().take(words).collect();
    by_space.join(" ").chars().take(words * 8).collect()
}
