//! The normaliser beside that of SentencePiece, over every character.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

/// A text in all four normal forms.
fn forms(text: &str) -> BTreeSet<String> {
    let nfkc = ComposingNormalizerBorrowed::new_nfkc().normalize(text).into_owned();
    let nfkd = DecomposingNormalizerBorrowed::new_nfkd().normalize(text).into_owned();
    [nfc(text), nfd(text), nfkc, nfkd].into()
}

/// Every character that Unicode assigned, and more: all outside of the planes that have none.
fn characters() -> impl Iterator<Item = char> {
    ('\u{1}'..='\u{323AF}').chain('\u{E0000}'..='\u{E01EF}')
}

/// SentencePiece's map, read in the plainest way.
struct Plain {
    map: BTreeMap<String, String>,
    longest: usize,
}

impl Plain {
    fn read(bytes: &[u8]) -> Self {
        let trie = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
        let units: Vec<usize> = bytes[4..4 + trie]
            .chunks(4)
            .map(|unit| u32::from_le_bytes(unit.try_into().unwrap()) as usize)
            .collect();
        let replacements = &bytes[4 + trie..];
        let offset = |unit: usize| (unit >> 10) << ((unit & (1 << 9)) >> 6);
        let mut map = BTreeMap::new();
        let mut waiting = vec![(offset(units[0]), Vec::new())];
        while let Some((place, key)) = waiting.pop() {
            for byte in 1..256 {
                let Some(&unit) = units.get(place ^ byte).filter(|&unit| unit & ((1 << 31) | 0xFF) == byte)
                else {
                    continue;
                };
                let key = [&key[..], &[byte as u8]].concat();
                let next = place ^ byte ^ offset(unit);
                if unit >> 8 & 1 == 1 {
                    let value = &replacements[units[next] & ((1 << 31) - 1)..];
                    let value = value.split(|&byte| byte == 0).next().unwrap();
                    map.insert(
                        String::from_utf8(key.clone()).unwrap(),
                        String::from_utf8(value.to_vec()).unwrap(),
                    );
                }
                waiting.push((next, key));
            }
        }
        let longest = map.keys().map(|key| key.chars().count()).max().unwrap();
        Self { map, longest }
    }

    fn normalise(&self, text: &str) -> String {
        let characters: Vec<_> = text.chars().collect();
        let (mut at, mut normalised) = (0, String::new());
        while at < characters.len() {
            let most = self.longest.min(characters.len() - at);
            let key = |length: usize| characters[at..at + length].iter().collect::<String>();
            let found =
                (1..=most).rev().find_map(|length| Some((length, self.map.get(&key(length))?.clone())));
            let (length, form) = found.unwrap_or_else(|| (1, key(1)));
            normalised += &form;
            at += length;
        }
        normalised
    }
}

/// Each form of every character alone, between letters, and after a character that others compose with.
fn every_text() -> impl Iterator<Item = String> {
    characters().flat_map(|c| {
        let contexts = |form: String| [format!("a{form}b"), format!("か{form}\u{1161}"), form];
        forms(&String::from(c)).into_iter().flat_map(contexts)
    })
}

#[test]
fn every_character_is_normalised_as_sentencepiece_does_it() {
    let original = Charsmap::read(nmt_nfkc()).unwrap();
    let plain = Plain::read(nmt_nfkc());
    for text in every_text() {
        assert_eq!(normalise(&original, &text), plain.normalise(&text), "{text:?}");
    }
    for (from, to) in &plain.map {
        assert_eq!(normalise(&original, from), *to, "{from:?}");
    }
}

#[test]
fn the_map_of_the_wheel_is_that_of_sentencepiece_but_for_younger_characters() {
    let Some(tokenizer) = tokenizer() else { return };
    let (wheel, original) = (charsmap(&tokenizer), Charsmap::read(nmt_nfkc()).unwrap());
    let alone = |map: &Charsmap, c: char| normalise(map, c.encode_utf8(&mut [0; 4]));
    let younger: Vec<char> = characters().filter(|&c| alone(wheel, c) != alone(&original, c)).collect();
    // It is the model's map that doesn't know them, so they stay what they are.
    for &c in &younger {
        assert_eq!(alone(wheel, c), String::from(c));
    }
    let list = younger.iter().map(|&c| format!("U+{:04X}", u32::from(c))).collect::<Vec<_>>().join(" ");
    println!("{} characters are younger than the model's map: {list}", younger.len());
    assert_eq!(younger.len(), 173);
    let keys = Plain::read(nmt_nfkc()).map.into_keys();
    for text in every_text().chain(keys).filter(|text| !text.contains(&younger[..])) {
        assert_eq!(normalise(wheel, &text), normalise(&original, &text), "{text:?}");
    }
}

/// The map that is in the repository is the one of the package, and the package does with it what we do.
#[test]
fn sentencepiece_itself_agrees() {
    let Some(packages) = embed_testkit::require("Python clients", sentencepiece()) else { return };
    let original = Charsmap::read(nmt_nfkc()).unwrap();
    let texts: Vec<_> = every_text().collect();
    let script = r#"
import json, sys
from sentencepiece import SentencePieceNormalizer
normaliser = SentencePieceNormalizer(
    rule_name="nmt_nfkc", add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=False)
json.dump([normaliser.normalize(text) for text in json.load(sys.stdin)], sys.stdout)
"#;
    let mut child = python_with(&packages)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = serde_json::to_vec(&texts).unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let theirs: Vec<String> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(theirs.len(), texts.len());
    for (text, theirs) in texts.iter().zip(theirs) {
        assert_eq!(normalise(&original, text), theirs, "{text:?}");
    }
}

/// A folder with the package. It is no virtual environment, for which Debian has a package of its own: pip is enough.
fn sentencepiece() -> Result<std::path::PathBuf, String> {
    let folder = std::env::temp_dir().join("embed-encoder-sentencepiece-0.2.3-packages");
    let run = |command: &mut Command| {
        let output = command.output().map_err(|error| error.to_string())?;
        let said = [output.stdout, output.stderr].concat();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
    };
    let has_it = || run(python_with(&folder).args(["-c", "import sentencepiece"]));
    if has_it().is_err() {
        let pip =
            ["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"];
        let what = ["--only-binary=:all:", "sentencepiece==0.2.3", "--target"];
        run(Command::new("python3").args(pip).args(what).arg(&folder))?;
        has_it()?;
    }
    Ok(folder)
}

fn python_with(packages: &Path) -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages).env("PYTHONNOUSERSITE", "1");
    command
}
