//! Detection: real texts in 440 languages, and one text for each special case.

use std::fmt;

use embed_router::{Detection, Detector, Kind, LanguageDetector};
use embed_testkit::data;
use proptest::prelude::*;
use serde::Deserialize;

/// How many texts were classified as English, of those in English and of the others.
#[derive(Debug, Default)]
struct Figures {
    english: (usize, usize),
    others: (usize, usize),
}

impl Figures {
    fn count(&mut self, in_english: bool, goes_to_english: bool) {
        let (went, all) = if in_english { &mut self.english } else { &mut self.others };
        *went += usize::from(goes_to_english);
        *all += 1;
    }

    /// Whether at most this share of the texts in other languages is classified as English.
    fn others_at_most(&self, share: f64) -> bool {
        self.others.0 as f64 <= share * self.others.1 as f64
    }

    /// Whether at least this share of the English texts is classified as English.
    fn english_at_least(&self, share: f64) -> bool {
        self.english.0 as f64 >= share * self.english.1 as f64
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ((kept, english), (wrong, others)) = (self.english, self.others);
        write!(f, "English kept {kept} of {english}, others to English {wrong} of {others}")
    }
}

/// The figures of the detector and of whatlang alone, on whole texts and on their first five words.
fn figures<'t>(name: &str, texts: impl Iterator<Item = (bool, &'t str)>) -> [Figures; 2] {
    let detector = LanguageDetector::new();
    let (mut ours, mut whatlang) = <([Figures; 2], [Figures; 2])>::default();
    for (in_english, text) in texts {
        for (cut, text) in [text.to_owned(), first_five_words(text)].iter().enumerate() {
            ours[cut].count(in_english, detector.detect(text).kind == Kind::En);
            let english = whatlang::detect_lang(text) == Some(whatlang::Lang::Eng);
            whatlang[cut].count(in_english, english);
        }
    }
    print(&format!("{name}, whole: {}; whatlang alone: {}", ours[0], whatlang[0]));
    print(&format!("{name}, five words: {}; whatlang alone: {}", ours[1], whatlang[1]));
    ours
}

#[expect(clippy::print_stdout, reason = "the figures are for docs/detection.md")]
fn print(line: &str) {
    println!("{line}");
}

/// For a script without spaces, about as much text.
fn first_five_words(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().take(5).collect();
    if words.len() == 5 { words.join(" ") } else { text.chars().take(20).collect() }
}

#[test]
fn the_declaration_in_fifteen_languages() {
    let articles = data::udhr();
    assert_eq!(articles.len(), 450);
    let texts = articles.iter().map(|article| (article.language == "en", article.text.as_str()));
    let [whole, cut] = figures("data/udhr.jsonl", texts);
    assert_eq!(whole.english, (30, 30));
    assert_eq!(whole.others, (0, 420));
    assert!(cut.english.0 >= 29, "{cut}");
    assert!(cut.others_at_most(0.01), "{cut}");
}

#[test]
fn texts_that_nothing_was_tuned_on() {
    #[derive(Deserialize)]
    struct Line {
        source: String,
        language: String,
        text: String,
    }
    let lines: Vec<Line> = include_str!("../data/languages.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // The Declaration in English is in the other test.
    for (source, english, others) in [("udhr", 0, 433), ("leipzig", 150, 592)] {
        let lines = lines.iter().filter(|line| line.source == source);
        let [whole, cut] = figures(source, lines.map(|line| (line.language == "en", line.text.as_str())));
        assert_eq!((whole.english.1, whole.others.1), (english, others));
        assert!(whole.others_at_most(0.005), "{whole}");
        assert!(cut.others_at_most(0.01), "{cut}");
        assert!(whole.english_at_least(0.97), "{whole}");
        assert!(cut.english_at_least(0.92), "{cut}");
    }
}

#[test]
fn special_cases() {
    use Kind::{En, Ja, Mixed, Other};
    let cases = [
        // Short queries.
        ("login", En, "en", "english-words"),
        ("database query", En, "en", "english-words"),
        ("cooking recipes", En, "en", "english-words"),
        ("height of Mount Fuji", En, "en", "english-words"),
        ("LATEST NEWS ABOUT CLIMATE CHANGE", En, "en", "english-words"),
        ("What's the weather like in Reykjavik?", En, "en", "english-words"),
        ("I don't know", En, "en", "english-words"),
        ("base de datos", Other, "und", "not-english"),
        ("recherche dans la base", Other, "und", "not-english"),
        ("het weer in Amsterdam", Other, "und", "not-english"),
        ("mga karapatan ng tao", Other, "tl", "not-english"),
        ("haki za binadamu", Other, "und", "not-english"),
        ("amalungelo abantu", Other, "zu", "not-english"),
        // Words that English shares with other languages aren't enough.
        ("transport international", Other, "und", "not-english"),
        ("die hand", Other, "und", "not-english"),
        // Japanese in Latin letters.
        ("watashi wa gakusei desu", Other, "und", "not-english"),
        ("nihongo no benkyou", Other, "und", "not-english"),
        // A Latin letter with a diacritic, composed or not, whatever is around it.
        ("a small café near the old harbour", Other, "en", "diacritic"),
        ("a small cafe\u{301} near the old harbour", Other, "en", "diacritic"),
        ("Ünlü", Other, "und", "diacritic"),
        // Scripts.
        ("富士山の高さ", Ja, "ja", "kana"),
        ("ﾊﾝｶｸｶﾅ", Ja, "ja", "kana"),
        ("Dockerコンテナのログを確認する", Ja, "ja", "kana"),
        ("GitHub Actions で Docker image を build する", Ja, "ja", "kana"),
        ("数据库查询", Other, "zh", "han"),
        ("데이터베이스 쿼리", Other, "ko", "hangul"),
        ("запрос к базе данных", Other, "und", "cyrillic"),
        ("ερώτημα βάσης δεδομένων", Other, "el", "greek"),
        ("استعلام قاعدة البيانات", Other, "und", "arabic"),
        ("שאילתת מסד נתונים", Other, "he", "hebrew"),
        ("डेटाबेस क्वेरी", Other, "und", "devanagari"),
        ("การสืบค้นฐานข้อมูล", Other, "th", "thai"),
        ("მონაცემთა ბაზა", Other, "ka", "georgian"),
        ("𐌰𐌱𐌲", Other, "und", "other-script"),
        // English around another script.
        ("How do I cancel my Nintendo スイッチ subscription?", Mixed, "en", "english-with-other-script"),
        ("what does 木漏れ日 mean", Mixed, "en", "english-with-other-script"),
        ("the Russian word любовь means love", Mixed, "en", "english-with-other-script"),
        ("the decay of a π meson", Mixed, "en", "english-with-other-script"),
        // Variants of Latin letters.
        ("Ｈｅｌｌｏ ｗｏｒｌｄ", Other, "und", "letter-variant"),
        ("𝐇𝐞𝐥𝐥𝐨 𝐰𝐨𝐫𝐥𝐝", Other, "und", "letter-variant"),
        ("the ﬁnal result", Other, "und", "letter-variant"),
        // Source code.
        ("fn main() { let total = items.iter().map(|item| item.price).sum(); }", En, "en", "english-code"),
        ("for (int i = 0; i < n; i++) { sum += arr[i]; }", En, "en", "english-code"),
        ("SELECT name FROM users WHERE id = 1", En, "en", "english-words"),
        ("def get_user_name(self): return self._name", En, "en", "english-code"),
        (
            "public int berechneSumme(int anzahl) { return anzahl * preisProStueck; }",
            Other,
            "und",
            "not-english",
        ),
        // Signs next to English words.
        ("“Typographic” quotes — and an emoji 🎉 in English", En, "en", "english-words"),
        ("see https://example.com/überblick for the details", Other, "en", "diacritic"),
        ("see https://example.com/wp-content/xyz for the details", En, "en", "english-words"),
        ("error 404: page not found", En, "en", "english-words"),
        ("it takes 37 µs", En, "en", "english-words"),
        ("data\u{200b}base que\u{ad}ry", En, "en", "english-words"),
        // Texts without words.
        ("", Other, "und", "empty"),
        (" \n\t\u{3000}\u{200b}", Other, "und", "empty"),
        ("!?…—", Other, "und", "no-words"),
        ("2024-11-23 13:37", Other, "und", "no-words"),
        ("🎉👩🏽‍🚀3️⃣", Other, "und", "no-words"),
        ("https://example.com/login?next=home", Other, "und", "no-words"),
        ("someone@example.com", Other, "und", "no-words"),
        ("x", Other, "und", "no-words"),
    ];
    let detector = LanguageDetector::new();
    let wrong: Vec<_> = cases
        .into_iter()
        .map(|(text, kind, language, rule)| (text, (kind, language, rule), detector.detect(text)))
        .filter(|(_, expected, found)| *expected != (found.kind, &*found.language, &*found.rule))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn other_languages_in_latin_letters_have_names() {
    let detector = LanguageDetector::new();
    for (language, tag) in
        [("fr", "fr"), ("es", "es"), ("de", "de-1996"), ("it", "it"), ("vi", "vi"), ("id", "id")]
    {
        let text = data::udhr_in(tag).join("\n");
        assert_eq!(detector.detect(&text).language, language);
        let unnamed = detector.clone().without_names().detect(&text);
        assert_eq!((unnamed.kind, &*unnamed.language, unnamed.confidence), (Kind::Other, "und", 0.0));
    }
}

#[test]
fn a_long_text_is_judged_by_its_beginning_its_middle_and_its_end() {
    let detector = LanguageDetector::new();
    let english = data::udhr_in("en").join("\n").repeat(100);
    let french = data::udhr_in("fr").join("\n").repeat(100);
    let insert = |at: usize, text: &str| {
        let at = english.floor_char_boundary(at);
        format!("{}{text}{}", &english[..at], &english[at..])
    };
    let kind = |text: &str| detector.detect(text).kind;
    assert_eq!(kind(&english), Kind::En);
    // Everything that the models read is inspected.
    assert_eq!(kind(&insert(4000, " 富士山の高さ ")), Kind::Mixed);
    assert_eq!(kind(&insert(english.len() / 2, " 富士山の高さ ")), Kind::Mixed);
    assert_eq!(kind(&insert(english.len(), " 富士山の高さ ")), Kind::Mixed);
    // A line elsewhere doesn't affect a vector, and isn't found.
    assert_eq!(kind(&insert(english.len() / 4, " 富士山の高さ ")), Kind::En);
    assert_eq!(kind(&format!("{}{french}", &english[..2000])), Kind::Other);
}

fn detect(text: &str) -> Detection {
    LanguageDetector::new().detect(text)
}

proptest! {
    #[test]
    fn any_text_has_a_language(text in any::<String>()) {
        let found = detect(&text);
        prop_assert!((0.0..=1.0).contains(&found.confidence));
        prop_assert!((2..=3).contains(&found.language.len()));
        prop_assert_eq!(found, detect(&text));
    }

    #[test]
    fn any_long_text_is_cut_between_characters(text in "(\\PC|[a-zé富 ]){40}", times in 1_usize..400) {
        detect(&text.repeat(times));
    }

    #[test]
    fn invisible_characters_at_the_ends_change_nothing(
        text in "(\\PC|[a-z ]){0,60}",
        before in "[ \t\n\u{3000}\u{200b}\u{feff}]{0,5}",
        after in "[ \t\n\u{a0}\u{200d}\u{2060}]{0,5}",
    ) {
        prop_assert_eq!(detect(&format!("{before}{text}{after}")), detect(&text));
    }

    #[test]
    fn only_letters_from_a_to_z_are_english(text in "(\\PC|[a-z ]){0,60}") {
        let letters = text.chars().filter(|c| c.is_alphabetic() && !matches!(c, 'ª' | 'µ' | 'º' | 'ー' | '・'));
        if detect(&text).kind == Kind::En {
            prop_assert!(letters.clone().all(|c| c.is_ascii()));
        }
    }

    #[test]
    fn a_diacritic_is_never_english(at in 0_usize..5, letter in "[à-öø-ÿāőşžơ]") {
        let mut words = ["what", "is", "the", "weather", "today", "like"].map(String::from);
        words[at] += &letter;
        prop_assert_eq!(detect(&words.join(" ")).kind, Kind::Other);
    }
}
