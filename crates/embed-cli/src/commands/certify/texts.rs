//! The texts of a certification.

/// Clean English of several lengths, which every model reads.
pub(super) const PLAIN: [&str; 8] = [
    "A cat sits on the mat.",
    "How do I optimise a database query that joins three tables?",
    "The committee adopted the resolution by 12 votes to 3, with 2 abstentions, on 14 May 1998.",
    "error: could not open file /etc/hosts (permission denied)",
    "Preheat the oven to 180 degrees and bake the bread for forty minutes.",
    "The train to Kyoto leaves at nine from platform four.",
    "Interest rates rose for the third time this year, and house prices fell.",
    "She sells sea shells by the sea shore.",
];

/// Latin letters with accents, in their composed form.
pub(super) const ACCENTED: [&str; 3] =
    ["Hokkaidō is cold in winter", "a café with a naïve façade", "Zürich, Malmö, Łódź"];

/// The same letters as one character and a mark behind it, as macOS names files.
pub(super) const DECOMPOSED: &str = "cafe\u{301} cre\u{300}me";

/// What breaks servers: one letter, figures, emoji, other scripts, signs, a long word.
pub(super) const ODD: [&str; 10] = [
    "a",
    "0 0 0 0 0 0 0 0",
    "👍🏽 🎉",
    "富士山の高さは3776メートルです。",
    "كل الناس يولدون أحرارا",
    "…—“”",
    "https://example.com/a/b?c=d&e=f#g",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "{\"key\": [1, 2, null]}",
    "line one\nline two\ttab",
];

/// Different words without an end, for texts of any number of tokens: most of them are one token.
pub(super) fn words(count: usize) -> String {
    const WORDS: [&str; 16] = [
        "river", "stone", "winter", "paper", "engine", "market", "doctor", "garden", "window", "letter",
        "summer", "bridge", "forest", "silver", "kitchen", "mountain",
    ];
    let word = |index: usize| WORDS[(index * 7 + index / 16) % WORDS.len()];
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}
