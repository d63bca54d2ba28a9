//! Functions for a fuzzer: they call the readers of files that people write, and check what must hold for any input.
//!
//! The crate in `fuzz/` compiles this file for its targets; the test below feeds their seeds.

use std::io::{self, Read};

use embed_core::Role;
use embed_gateway::ApiKey;
use serde::de::IgnoredAny;
use serde_json::Value as Json;

use crate::io::format::InputFormat;
use crate::io::input::{InputRows, LineRows, ReadOptions};
use crate::io::lines::max_json_bytes;
use crate::io::rows::RowSource;
use crate::keys::keys;

/// Small, so that a short input can contain a text that is too long.
const MAX_TEXT_BYTES: usize = 64;

/// A mark that editors put at the start of a file.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A file of API keys.
///
/// # Panics
///
/// If something doesn't hold that must.
pub(crate) fn api_keys(file: &[u8]) {
    let Ok(text) = str::from_utf8(file) else { return };
    let read = keys(text);
    let holds = |key: &str| read.iter().any(|known| known.is_same(&ApiKey::new("", key)));
    assert!(!holds(""), "a caller without a key would be let in");
    for (at, key) in read.iter().enumerate() {
        assert!(!read[..at].iter().any(|known| known.is_same(key)), "a key is there twice");
        assert!(!key.name().trim().is_empty(), "a key without a name");
    }
    let lines: Vec<_> = text.strip_prefix('\u{feff}').unwrap_or(text).lines().map(str::trim).collect();
    assert!(read.len() <= lines.len(), "more keys than lines");
    for line in lines {
        // With a `#` in it a line is a key, a key and its name, or no key at all.
        assert!(line.is_empty() || line.contains('#') || holds(line), "a key is missing");
        assert!(line.len() < 2 || !line.starts_with('#') || !holds(line), "a comment is a key");
    }
    let same = |other: &str| keys(other).len() == read.len();
    assert!(same(&format!("{text}\n# the end")), "a comment at the end changes the keys");
}

/// An input of lines or JSON lines, depending on its first byte, in pieces whose length is the second byte.
///
/// # Panics
///
/// If something doesn't hold that must.
pub(crate) fn lines(input: &[u8]) {
    let [form, piece, input @ ..] = input else { return };
    let form = if form % 2 == 0 { InputFormat::Jsonl } else { InputFormat::Lines };
    let source = ChunkedInput { rest: input.to_vec(), piece: usize::from(*piece) + 1 };
    let reading = ReadOptions { max_text_bytes: MAX_TEXT_BYTES, role: Role::Document };
    let mut rows = InputRows::Lines(LineRows::new(Box::new(source), Some(form), "input".to_owned(), reading));
    let limit = if form == InputFormat::Jsonl { max_json_bytes(MAX_TEXT_BYTES) } else { MAX_TEXT_BYTES };
    for line in lines_of(input, form == InputFormat::Jsonl) {
        let row = match rows.next() {
            // It isn't text, or in a format that isn't read here, and is refused as a whole.
            Err(error) => return assert!(!error.message().is_empty()),
            Ok(row) => row.expect("a line is a row"),
        };
        if let Some(id) = &row.id {
            let id = id.get();
            // A number may exceed all bounds, and a list may be nested deeper than most readers allow.
            let is_json = match id.starts_with('"') {
                true => serde_json::from_str::<String>(id).is_ok(),
                false => serde_json::from_str::<IgnoredAny>(id).is_ok(),
            };
            assert!(is_json && id != "null", "an id that can't be written again");
        }
        match (&row.text, form) {
            (Ok(text), InputFormat::Lines) => assert_eq!(text.as_bytes(), line),
            (Ok(text), InputFormat::Jsonl) => assert!(text.len() <= limit),
            (Err(error), _) => assert!(error.message().len() < 1000),
        }
        if let Some(text) = plain(line, form) {
            let read = row.text.expect("a plain line is refused");
            assert!(text.len() > limit || read == text, "another text than was written");
        }
    }
    match rows.next() {
        Ok(row) => assert!(row.is_none(), "more rows than lines"),
        Err(_) => return,
    }
    assert_eq!(rows.bytes(), input.len() as u64, "bytes of the input are lost");
}

/// The lines that are rows, without their ends: `\n`, or `\r\n`.
fn lines_of(input: &[u8], as_json: bool) -> Vec<&[u8]> {
    let mut lines: Vec<_> = input.split_inclusive(|&byte| byte == b'\n').collect();
    if let Some(first) = lines.first_mut() {
        *first = first.strip_prefix(MARK).unwrap_or(first);
    }
    let without_end = |line: &'_ [u8]| match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line).len(),
        None => line.len(),
    };
    let lines = lines.into_iter().map(|line| &line[..without_end(line)]);
    lines.filter(|line| !as_json || !line.iter().all(u8::is_ascii_whitespace)).collect()
}

/// The text of a line that can only be read in one way.
fn plain(line: &[u8], form: InputFormat) -> Option<String> {
    match form {
        InputFormat::Lines => {
            (line.len() <= MAX_TEXT_BYTES).then(|| str::from_utf8(line).ok().map(str::to_owned))?
        }
        InputFormat::Jsonl => {
            let json: Json = serde_json::from_slice(line).ok()?;
            let fields = json.as_object().filter(|fields| fields.len() == 1)?;
            fields.get("text")?.as_str().map(str::to_owned)
        }
    }
}

/// An input that comes in pieces.
struct ChunkedInput {
    rest: Vec<u8>,
    piece: usize,
}

impl Read for ChunkedInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.piece.min(buffer.len()).min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        self.rest.drain(..length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// The seeds of a target, and inputs that a fuzzer has found.
    fn feed(target: &str, read: fn(&[u8])) {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let seeds: Vec<_> = fs::read_dir(seeds).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!seeds.is_empty(), "{target} has no seeds");
        for seed in seeds {
            let bytes = fs::read(&seed).unwrap();
            // Inputs that are cut at any place must not fail either.
            (0..=bytes.len()).for_each(|end| read(&bytes[..end]));
        }
    }

    #[test]
    fn the_seeds_of_the_fuzzer_hold() {
        feed("keys", super::api_keys);
        feed("lines", super::lines);
    }
}
