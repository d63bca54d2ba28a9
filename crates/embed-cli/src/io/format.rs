//! What an input is: texts, JSON lines, or something else, which is refused as a whole and not row by row.

use std::path::Path;

use embed_core::{Error, ErrorKind};

/// What a line of the input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum InputFormat {
    /// The line is the text.
    Lines,
    /// The line is a JSON object with `text` and, if you like, `id` and `role`. Empty lines are skipped.
    Jsonl,
}

/// The command that unpacks it.
const UNPACK: &str = "is compressed; unpack it first, for example with `gunzip -c`, `zstd -dc` or `unzip -p`";
const COLUMNS: &str = "is a table of columns; write a JSON object with `text` for each row, and pass --input-format \
                       jsonl, or embed each line as it stands with --input-format lines";
const JSON: &str = "may be one JSON document or many; write an object with `text` in each line, for example with `jq -c \
                    '.[]'`, and pass --input-format jsonl";
const MARKUP: &str = "is a structured document; write its texts as lines, or embed each line as it \
                      stands with --input-format lines";
const BINARY: &str = "is not text; write its texts as lines, or as JSON lines with `text`";

/// Extensions, separated by spaces, of formats that aren't read here.
const OTHER_NAMES: [(&str, &str); 5] = [
    ("gz tgz bz2 xz zst lz4 lzma br zip 7z rar z tar", UNPACK),
    ("csv tsv tab psv", COLUMNS),
    ("json geojson json5", JSON),
    ("xml html htm xhtml yaml yml toml rtf ipynb", MARKUP),
    (
        "parquet arrow arrows feather avro orc npy npz h5 hdf5 pkl pickle pt safetensors sqlite db duckdb \
         pdf doc docx xls xlsx ods odt ppt pptx epub",
        BINARY,
    ),
];

/// First bytes of formats that aren't read here.
const OTHER_STARTS: [(&[u8], &str); 13] = [
    (b"\x1f\x8b", UNPACK),
    (b"\x28\xb5\x2f\xfd", UNPACK),
    (b"\xfd7zXZ\0", UNPACK),
    (b"BZh91AY", UNPACK),
    (b"\x04\x22\x4d\x18", UNPACK),
    (b"PK\x03\x04", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", UNPACK),
    (b"PAR1", BINARY),
    (b"ARROW1\0\0", BINARY),
    (b"Obj\x01", BINARY),
    (b"\x93NUMPY", BINARY),
    (b"%PDF-", BINARY),
    (b"SQLite format 3\0", BINARY),
];

impl InputFormat {
    /// The format of a file's lines by its name; `None` if the name doesn't tell. Fails if it is a format that isn't read
    /// here.
    pub(crate) fn by_name(path: &Path) -> Result<Option<Self>, Error> {
        let Some(end) = path.extension().and_then(|end| end.to_str()).map(str::to_ascii_lowercase) else {
            return Ok(None);
        };
        if ["jsonl", "ndjson", "jsonlines", "ldjson"].contains(&end.as_str()) {
            return Ok(Some(Self::Jsonl));
        }
        match OTHER_NAMES.iter().find(|(ends, _)| ends.split(' ').any(|known| known == end)) {
            Some((_, why)) => Err(refused(why).with_context("file", path.display())),
            None => Ok(None),
        }
    }
}

/// Fails if an input that begins like this isn't UTF-8 text, as far as its beginning tells.
pub(crate) fn check_start(head: &[u8]) -> Result<(), Error> {
    let of_utf32 = head.starts_with(b"\xff\xfe\0\0") || head.starts_with(b"\0\0\xfe\xff");
    let encoding = match head {
        _ if of_utf32 => "UTF-32",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16",
        // UTF-16 without a byte order mark: every other byte of ASCII is zero.
        [0, a, 0, b, ..] | [a, 0, b, 0, ..] if *a != 0 && *b != 0 => "UTF-16",
        _ => {
            return match OTHER_STARTS.iter().find(|(start, _)| head.starts_with(start)) {
                Some((_, why)) => Err(refused(why)),
                None => Ok(()),
            };
        }
    };
    Err(refused(&format!("is {encoding}; convert it, for example with `iconv -f {encoding} -t UTF-8`")))
}

/// Detects lines in an older encoding. A single line that isn't UTF-8 is damaged, and its row fails. If there are several,
/// and no line with more than ASCII is UTF-8, the input is in another encoding.
#[derive(Debug, Default)]
pub(crate) struct EncodingCheck {
    is_utf8: bool,
    other: bool,
}

impl EncodingCheck {
    /// Checks a line without its end. Fails once it is clear that the input is in another encoding.
    pub(crate) fn see(&mut self, line: &[u8]) -> Result<(), Error> {
        if self.is_utf8 || line.is_ascii() {
            return Ok(());
        }
        if str::from_utf8(line).is_ok() {
            self.is_utf8 = true;
        } else if std::mem::replace(&mut self.other, true) {
            return Err(refused(
                "is not UTF-8 but in an older encoding; convert it, for example with `iconv -f ISO-8859-1 -t UTF-8`",
            ));
        }
        Ok(())
    }
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the input {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_of_json_lines_or_are_refused() {
        for name in ["a.jsonl", "a.ndjson", "a.jsonlines", "a.JSONL", "a.Ndjson", "a.b.ldjson"] {
            assert_eq!(InputFormat::by_name(Path::new(name)).unwrap(), Some(InputFormat::Jsonl), "{name}");
        }
        for name in ["a.txt", "a", "a.md", "a.log", ".jsonl", "jsonl", "a.jsonl.txt"] {
            assert_eq!(InputFormat::by_name(Path::new(name)).unwrap(), None, "{name}");
        }
        for (name, words) in [
            ("a.json", "jq"),
            ("a.JSON", "--input-format jsonl"),
            ("a.jsonl.gz", "gunzip"),
            ("a.txt.zst", "unpack"),
            ("a.csv", "--input-format lines"),
            ("a.TSV", "columns"),
            ("a.parquet", "not text"),
            ("a.npy", "not text"),
            ("a.pdf", "not text"),
            ("a.html", "--input-format lines"),
        ] {
            let error = InputFormat::by_name(Path::new(name)).unwrap_err();
            assert!(
                error.kind() == ErrorKind::Config && error.to_string().contains(words),
                "{name}: {error}"
            );
        }
    }

    #[test]
    fn a_beginning_that_is_no_utf8_text_is_refused() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        for (start, words) in [
            (utf16("\u{feff}text"), "iconv -f UTF-16"),
            (utf16("text"), "iconv -f UTF-16"),
            ("\u{feff}text".encode_utf16().flat_map(u16::to_be_bytes).collect(), "iconv -f UTF-16"),
            ("\u{feff}ab".chars().flat_map(|c| (c as u32).to_le_bytes()).collect(), "iconv -f UTF-32"),
            ("\u{feff}ab".chars().flat_map(|c| (c as u32).to_be_bytes()).collect(), "iconv -f UTF-32"),
            (b"\x1f\x8b\x08\0".to_vec(), "gunzip"),
            (b"PK\x03\x04".to_vec(), "unzip"),
            (b"PAR1".to_vec(), "not text"),
        ] {
            let error = check_start(&start).unwrap_err().to_string();
            assert!(error.contains(words), "{start:?}: {error}");
        }
        for start in
            [&b""[..], b"a", b"text", b"\xef\xbb\xbftext", "富士山".as_bytes(), b"PK is short", b"\0\0\0\0"]
        {
            assert!(check_start(start).is_ok(), "{start:?}");
        }
    }

    #[test]
    fn one_bad_line_is_damaged_and_several_are_of_another_encoding() {
        let see = |lines: &[&[u8]]| {
            let mut encoding = EncodingCheck::default();
            lines.iter().try_for_each(|line| encoding.see(line))
        };
        assert!(see(&[b"ascii", b"caf\xe9", b"ascii"]).is_ok());
        assert!(see(&["café".as_bytes(), b"caf\xe9", b"na\xefve"]).is_ok());
        assert!(see(&[b"caf\xe9", "café".as_bytes(), b"na\xefve"]).is_ok());
        let error = see(&[b"caf\xe9", b"ascii", b"na\xefve"]).unwrap_err();
        assert!(error.to_string().contains("iconv -f ISO-8859-1"), "{error}");
    }
}
