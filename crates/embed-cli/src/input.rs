//! Texts from arguments, files and standard input, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use embed_core::{Error, ErrorKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exit::file_error;
use crate::pipeline::Source;

/// One row of the input. A bad one keeps its place.
#[derive(Debug)]
pub(crate) struct InputRow {
    /// The `id` of a JSON line, as it was written.
    pub(crate) id: Option<Box<RawValue>>,
    pub(crate) text: Result<String, Error>,
}

/// Where texts come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Texts(Vec<String>),
    Stdin(Form),
    File(PathBuf, Form),
}

/// What a line of the input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// The line is the text.
    Lines,
    /// The line is a JSON object with `text` and, if you like, `id`.
    Jsonl,
}

#[derive(Deserialize)]
struct JsonRow {
    id: Option<Box<RawValue>>,
    text: String,
}

/// A line may hold this much more than the longest text, for the JSON around it.
const JSON_ROOM: usize = 1 << 16;

/// Whether two names lead to one file that exists.
pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The longest JSON line with a text of so many bytes, each of which may be written as an escape of six.
pub(crate) fn max_json_bytes(max_text_bytes: usize) -> usize {
    max_text_bytes * 6 + JSON_ROOM
}

impl Input {
    /// `-` is standard input; a file is read as JSON lines if its name ends in `.jsonl`.
    pub(crate) fn from_flag(path: &Path, form: Option<Form>) -> Self {
        if path.as_os_str() == "-" {
            return Self::Stdin(form.unwrap_or(Form::Lines));
        }
        let jsonl = path.extension().is_some_and(|extension| extension == "jsonl");
        let by_name = if jsonl { Form::Jsonl } else { Form::Lines };
        Self::File(path.to_owned(), form.unwrap_or(by_name))
    }

    /// Opens the input. `max_text_bytes` is the longest text that is worth reading whole.
    pub(crate) fn open(self, max_text_bytes: usize) -> Result<Rows, Error> {
        let is_pipe = matches!(self, Self::Stdin(_));
        let (source, form, name): (Box<dyn Read + Send>, _, _) = match self {
            Self::Texts(texts) => return Ok(Rows::Texts(texts.into_iter())),
            Self::Stdin(form) => (Box::new(io::stdin()), form, "standard input".to_owned()),
            Self::File(path, form) => {
                let name = path.display().to_string();
                let file = File::open(&path)
                    .map_err(|error| file_error("the input can't be opened", &name, error))?;
                (Box::new(file), form, name)
            }
        };
        let limit = match form {
            Form::Lines => max_text_bytes,
            Form::Jsonl => max_json_bytes(max_text_bytes),
        };
        let lines = LineReader::new(BufReader::with_capacity(1 << 16, source), limit);
        Ok(Rows::Lines(Lines { lines, form, name, is_pipe }))
    }

    /// The size of the input, if it is a file.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match self {
            Self::File(path, _) => path.metadata().ok().filter(|meta| meta.is_file()).map(|meta| meta.len()),
            _ => None,
        }
    }
}

/// The rows of an input, one after the other.
pub(crate) enum Rows {
    Texts(std::vec::IntoIter<String>),
    Lines(Lines),
}

pub(crate) struct Lines {
    lines: LineReader<BufReader<Box<dyn Read + Send>>>,
    form: Form,
    name: String,
    is_pipe: bool,
}

/// Lines of bytes, in bounded memory.
pub(crate) struct LineReader<R> {
    source: R,
    limit: usize,
    number: u64,
    bytes: u64,
}

/// A line without its end.
pub(crate) struct Line {
    pub(crate) bytes: Vec<u8>,
    /// Bytes read for it, its end included.
    pub(crate) length: u64,
    /// Whether all of them are in `bytes`; it was too long otherwise.
    pub(crate) whole: bool,
    /// Whether it has an end; the last line of a file may have none.
    pub(crate) ended: bool,
}

impl Source for Rows {
    type Row = InputRow;

    fn next(&mut self) -> Result<Option<InputRow>, Error> {
        match self {
            Self::Texts(texts) => Ok(texts.next().map(|text| InputRow { id: None, text: Ok(text) })),
            Self::Lines(lines) => lines.next(),
        }
    }

    fn would_wait(&self) -> bool {
        matches!(self, Self::Lines(lines) if lines.is_pipe && lines.lines.source.buffer().is_empty())
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Texts(_) => 0,
            Self::Lines(lines) => lines.lines.bytes,
        }
    }
}

impl Lines {
    fn next(&mut self) -> Result<Option<InputRow>, Error> {
        let line = self.lines.next();
        let line = line.map_err(|error| file_error("the input can't be read", &self.name, error))?;
        let Some(line) = line else { return Ok(None) };
        Ok(Some(match line.check_length(self.lines.limit) {
            Err(error) => InputRow { id: None, text: Err(error) },
            Ok(bytes) => match self.form {
                Form::Lines => InputRow { id: None, text: utf8(bytes) },
                Form::Jsonl => json_row(&bytes),
            },
        }))
    }
}

impl<R: BufRead> LineReader<R> {
    /// What a line has beyond `limit` bytes is skipped.
    pub(crate) fn new(source: R, limit: usize) -> Self {
        Self { source, limit, number: 0, bytes: 0 }
    }

    /// The next line. A byte order mark at the start of the first is no part of it.
    pub(crate) fn next(&mut self) -> io::Result<Option<Line>> {
        let Some(mut line) = read_line(&mut self.source, self.limit)? else { return Ok(None) };
        self.bytes += line.length;
        self.number += 1;
        if self.number == 1 && line.bytes.starts_with(b"\xef\xbb\xbf") {
            line.bytes.drain(..3);
        }
        Ok(Some(line))
    }

    /// The number of the line that was read last; the first is 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the lines come from.
    pub(crate) fn source(&self) -> &R {
        &self.source
    }
}

impl Line {
    /// The bytes, if they were not too many.
    pub(crate) fn check_length(self, limit: usize) -> Result<Vec<u8>, Error> {
        if self.whole {
            return Ok(self.bytes);
        }
        Err(Error::new(ErrorKind::InputTooLong, "the line is too long; split it into passages")
            .with_context("bytes", self.length)
            .with_context("limit", limit))
    }
}

pub(crate) fn utf8(line: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(line).map_err(|error| {
        Error::new(ErrorKind::InvalidInput, "the line is not valid UTF-8; convert it, for example with iconv")
            .with_context("at byte", error.utf8_error().valid_up_to())
    })
}

fn json_row(line: &[u8]) -> InputRow {
    match serde_json::from_slice::<JsonRow>(line) {
        Ok(JsonRow { id, text }) => InputRow { id, text: Ok(text) },
        Err(error) => {
            // serde_json's message may quote the line, so only the place is told.
            let error = Error::new(
                ErrorKind::InvalidInput,
                "the line is not a JSON object with a string `text` and, if you like, an `id`",
            )
            .with_context("column", error.column());
            InputRow { id: None, text: Err(error) }
        }
    }
}

/// Reads a line without its end. What a line has beyond `limit` is skipped, so that memory stays bounded.
fn read_line(source: &mut dyn BufRead, limit: usize) -> io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    let mut length = 0;
    loop {
        let buffer = match source.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let part = &buffer[..end.map_or(buffer.len(), |end| end + 1)];
        let (used, finished) = (part.len(), end.is_some() || part.is_empty());
        // Two more than the limit, so that a line end doesn't count.
        let room = (limit + 2).saturating_sub(bytes.len()).min(used);
        bytes.extend_from_slice(&part[..room]);
        length += used as u64;
        source.consume(used);
        if finished {
            let (whole, ended) = (bytes.len() as u64 == length, end.is_some());
            if whole && bytes.ends_with(b"\n") {
                bytes.pop();
                if bytes.ends_with(b"\r") {
                    bytes.pop();
                }
            }
            return Ok((length > 0).then_some(Line { bytes, length, whole, ended }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8], form: Form) -> Vec<InputRow> {
        let source: Box<dyn Read + Send> = Box::new(io::Cursor::new(text.to_vec()));
        let limit = if form == Form::Lines { 10 } else { max_json_bytes(10) };
        let lines = LineReader::new(BufReader::with_capacity(4, source), limit);
        let mut lines = Lines { lines, form, name: "test".to_owned(), is_pipe: true };
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    fn texts(text: &[u8], form: Form) -> Vec<Result<String, ErrorKind>> {
        rows(text, form).into_iter().map(|row| row.text.map_err(|error| error.kind())).collect()
    }

    #[test]
    fn every_line_is_a_row_whatever_is_in_it() {
        let lines = texts(b"\xef\xbb\xbfone\r\n\n\xff\xfe\nten bytes!\nmore than ten\nlast", Form::Lines);
        assert_eq!(
            lines,
            [
                Ok("one".to_owned()),
                Ok(String::new()),
                Err(ErrorKind::InvalidInput),
                Ok("ten bytes!".to_owned()),
                Err(ErrorKind::InputTooLong),
                Ok("last".to_owned())
            ]
        );
    }

    #[test]
    fn json_lines_keep_their_id_as_written() {
        let lines = rows(b"{\"id\": 1.50, \"text\": \"a\"}\n{\"text\": 5}\nnot json\n", Form::Jsonl);
        assert_eq!(lines[0].id.as_ref().unwrap().get(), "1.50");
        assert_eq!(lines[0].text.as_ref().unwrap(), "a");
        for bad in &lines[1..] {
            assert_eq!(bad.text.as_ref().unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_bad_json_line_is_not_quoted() {
        let lines = rows(b"{\"text\": \"secret\", \"id\": }", Form::Jsonl);
        let error = lines[0].text.as_ref().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn an_input_without_lines_has_no_rows() {
        assert!(texts(b"", Form::Lines).is_empty());
        assert_eq!(texts(b"\n", Form::Lines), [Ok(String::new())]);
    }
}
