//! Texts from arguments, files and standard input, in bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use embed_core::{Error, Role};

use super::fields::{LineFields, refused};
use super::format::{EncodingCheck, InputFormat, check_start};
use super::lines::{LineReader, max_json_bytes, utf8};
use super::rows::{InputRow, RowSource};
use crate::exit::file_error;

/// Where the texts of a command come from.
#[derive(Debug, Default, Args)]
pub(crate) struct InputArgs {
    /// The texts; for many, use --input instead. `-` alone, or nothing at all, reads standard input.
    #[arg(conflicts_with = "input")]
    texts: Vec<String>,

    /// Read texts from a file, or from standard input with `-`.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,

    /// What a line of the input is; by default the file's name decides, and for standard input it is the text.
    #[arg(long, value_enum)]
    input_format: Option<InputFormat>,
}

/// Where texts come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Texts(Vec<String>),
    Stdin(Option<InputFormat>),
    File(PathBuf, Option<InputFormat>),
}

/// What the rows of an input share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadOptions {
    /// The longest text that is worth reading completely.
    pub(crate) max_text_bytes: usize,
    /// The role of texts whose row has none.
    pub(crate) role: Role,
}

/// Bytes of a buffer, and of the beginning that is checked for an encoding.
const BUFFER: usize = 1 << 16;

/// Whether two paths are the same existing file.
pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

impl InputArgs {
    /// Checks arguments that exclude each other.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let is_dash = self.texts == ["-"];
        if self.input.is_none() && self.texts.is_empty() && !is_stdin_given() {
            return Err("there is nothing to embed: give texts, --input FILE, or a pipe on standard input");
        }
        if !is_dash && self.texts.iter().any(|text| text == "-") {
            return Err("`-` is standard input and stands alone");
        }
        if self.input_format.is_some() && !is_dash && !self.texts.is_empty() {
            return Err("--input-format is for --input and for standard input");
        }
        Ok(())
    }

    pub(crate) fn input(self) -> Input {
        match self.input {
            Some(path) => Input::from_flag(&path, self.input_format),
            None if self.texts.is_empty() || self.texts == ["-"] => Input::Stdin(self.input_format),
            None => Input::Texts(self.texts),
        }
    }
}

/// Whether standard input is a pipe or a file, and not a terminal or /dev/null as in services and jobs.
fn is_stdin_given() -> bool {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd;
        use std::os::unix::fs::FileTypeExt;

        let stdin = io::stdin().as_fd().try_clone_to_owned().map(File::from);
        let kind = stdin.and_then(|stdin| stdin.metadata()).map(|meta| meta.file_type());
        kind.is_ok_and(|kind| !kind.is_char_device())
    }
    #[cfg(not(unix))]
    !io::IsTerminal::is_terminal(&io::stdin())
}

impl Input {
    /// `-` is standard input. Without a format, the name of a file decides what its lines are.
    pub(crate) fn from_flag(path: &Path, format: Option<InputFormat>) -> Self {
        if path.as_os_str() == "-" { Self::Stdin(format) } else { Self::File(path.to_owned(), format) }
    }

    /// Opens the input. A file in a format that isn't read here, by its name or its beginning, is refused.
    pub(crate) fn open(self, reading: ReadOptions) -> Result<InputRows, Error> {
        let (source, format, name): (Box<dyn Read + Send>, _, _) = match self {
            Self::Texts(texts) => return Ok(InputRows::Texts(texts.into_iter(), reading.role)),
            Self::Stdin(format) => (Box::new(io::stdin()), format, "standard input".to_owned()),
            Self::File(path, format) => {
                let name = path.display().to_string();
                let failed = |error| file_error("the input can't be opened", &name, error);
                let by_name = match format {
                    None => InputFormat::by_name(&path)?,
                    given => given,
                };
                let file = File::open(&path).map_err(failed)?;
                if file.metadata().map_err(failed)?.is_file() {
                    return LineRows::of_file(file, by_name, name, reading).map(InputRows::Lines);
                }
                (Box::new(file), by_name, name)
            }
        };
        Ok(InputRows::Lines(LineRows::new(source, format, name, reading)))
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
pub(crate) enum InputRows {
    Texts(std::vec::IntoIter<String>, Role),
    Lines(LineRows),
}

pub(crate) struct LineRows {
    lines: LineReader<BufReader<Box<dyn Read + Send>>>,
    /// The format that a flag or the name of the file sets; otherwise lines are texts.
    format: Option<InputFormat>,
    name: String,
    is_pipe: bool,
    encoding: EncodingCheck,
    role: Role,
}

impl RowSource for InputRows {
    type Row = InputRow;

    fn next(&mut self) -> Result<Option<InputRow>, Error> {
        match self {
            Self::Texts(texts, role) => {
                Ok(texts.next().map(|text| InputRow { id: None, text: Ok(text), role: *role }))
            }
            Self::Lines(lines) => lines.next(),
        }
    }

    fn would_wait(&self) -> bool {
        matches!(self, Self::Lines(lines) if lines.is_pipe && lines.lines.source().buffer().is_empty())
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Texts(..) => 0,
            Self::Lines(lines) => lines.lines.bytes(),
        }
    }
}

impl LineRows {
    pub(crate) fn new(
        source: Box<dyn Read + Send>,
        format: Option<InputFormat>,
        name: String,
        reading: ReadOptions,
    ) -> Self {
        let limit = match format.unwrap_or(InputFormat::Lines) {
            InputFormat::Lines => reading.max_text_bytes,
            InputFormat::Jsonl => max_json_bytes(reading.max_text_bytes),
        };
        let lines = LineReader::new(BufReader::with_capacity(BUFFER, source), limit);
        Self { lines, format, name, is_pipe: true, encoding: EncodingCheck::default(), role: reading.role }
    }

    /// The lines of a file. Its beginning is checked before any work is done.
    fn of_file(
        file: File,
        format: Option<InputFormat>,
        name: String,
        reading: ReadOptions,
    ) -> Result<Self, Error> {
        let mut this = Self::new(Box::new(file), format, name, reading);
        this.is_pipe = false;
        let head = this.lines.source_mut().fill_buf();
        let head = head.map_err(|error| file_error("the input can't be read", &this.name, error))?;
        let whole = if head.len() < BUFFER {
            head.len()
        } else {
            head.iter().rposition(|&b| b == b'\n').unwrap_or(0)
        };
        let mut encoding = EncodingCheck::default();
        let checked = check_start(head)
            .and_then(|()| head[..whole].split(|&b| b == b'\n').try_for_each(|line| encoding.see(line)));
        checked.map_err(|error| error.with_context("file", &this.name))?;
        Ok(this)
    }

    fn next(&mut self) -> Result<Option<InputRow>, Error> {
        loop {
            let line = self.lines.next();
            let line = line.map_err(|error| file_error("the input can't be read", &self.name, error))?;
            let Some(line) = line else { return Ok(None) };
            self.look(&line.bytes).map_err(|error| error.with_context("file", &self.name))?;
            let row = |text| InputRow { id: None, text, role: self.role };
            return Ok(Some(match (line.check_length(self.lines.limit()), self.format) {
                (Err(error), _) => row(Err(error)),
                // Empty lines aren't rows of JSON lines.
                (Ok(bytes), Some(InputFormat::Jsonl)) if bytes.iter().all(u8::is_ascii_whitespace) => {
                    continue;
                }
                (Ok(bytes), Some(InputFormat::Jsonl)) => self.json_row(bytes),
                (Ok(bytes), _) => row(utf8(bytes)),
            }));
        }
    }

    /// Checks a line near the beginning for signs that the input has another format.
    fn look(&mut self, line: &[u8]) -> Result<(), Error> {
        if self.lines.number() == 1 {
            check_start(line)?;
            if self.format.is_none()
                && str::from_utf8(line)
                    .is_ok_and(|line| LineFields::read(line).is_ok_and(|fields| !fields.is_empty()))
            {
                // A closed standard error is no reason to fail.
                let _ = writeln!(
                    io::stderr(),
                    "embed: the first line of {} is a JSON object, and is embedded as it stands; --input-format jsonl \
                     reads it, --input-format lines says that it is meant",
                    self.name
                );
            }
        }
        if self.lines.bytes() <= BUFFER as u64 { self.encoding.see(line) } else { Ok(()) }
    }

    /// The row of a JSON line; it keeps its id even if the rest is wrong.
    fn json_row(&self, line: Vec<u8>) -> InputRow {
        let at = |error: Error| error.with_context("line", self.lines.number());
        let mut fields = match utf8(line).and_then(|line| LineFields::read(&line)) {
            Ok(fields) => fields,
            Err(error) => return InputRow { id: None, text: Err(at(error)), role: self.role },
        };
        let text = fields.text().and_then(|text| text.ok_or_else(|| refused("the row has no `text`")));
        let role = fields.role();
        let id = fields.take_id();
        match (text, role) {
            (Ok(text), Ok(role)) => InputRow { id, text: Ok(text), role: role.unwrap_or(self.role) },
            (Err(error), _) | (_, Err(error)) => InputRow { id, text: Err(at(error)), role: self.role },
        }
    }
}

#[cfg(test)]
mod tests {
    use embed_core::ErrorKind;

    use super::*;

    fn rows(text: &[u8], format: InputFormat) -> Vec<InputRow> {
        let reading = ReadOptions { max_text_bytes: 10, role: Role::Document };
        let mut lines =
            LineRows::new(Box::new(io::Cursor::new(text.to_vec())), Some(format), "test".to_owned(), reading);
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    fn texts(text: &[u8], format: InputFormat) -> Vec<Result<String, ErrorKind>> {
        rows(text, format).into_iter().map(|row| row.text.map_err(|error| error.kind())).collect()
    }

    #[test]
    fn every_line_is_a_row_whatever_is_in_it() {
        let lines =
            texts(b"\xef\xbb\xbfone\r\n\n\xff\xfe\nten bytes!\nmore than ten\nlast", InputFormat::Lines);
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
        let lines = rows(b"{\"id\": 1.50, \"text\": \"a\"}\n{\"text\": 5}\nnot json\n", InputFormat::Jsonl);
        assert_eq!(lines[0].id.as_ref().unwrap().get(), "1.50");
        assert_eq!(lines[0].text.as_ref().unwrap(), "a");
        for bad in &lines[1..] {
            assert_eq!(bad.text.as_ref().unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_bad_json_line_keeps_its_id_too() {
        let lines = rows(
            b"{\"id\":1,\"text\":null}\n{\"text\":[],\"id\":2}\n{\"id\":3}\n{\"id\":4,\"text\":\"a\",\"role\":\"x\"}",
            InputFormat::Jsonl,
        );
        for (row, id) in lines.iter().zip(["1", "2", "3", "4"]) {
            assert_eq!(row.id.as_ref().unwrap().get(), id);
            assert!(row.text.as_ref().unwrap_err().to_string().contains(&format!("line: {id}")));
        }
    }

    #[test]
    fn empty_lines_are_no_json_rows_and_roles_are_those_of_rows() {
        let lines = rows(
            b"\n{\"text\":\"a\",\"role\":\"query\"}\r\n\r\n \t\n{\"text\":\"b\"}\n\n",
            InputFormat::Jsonl,
        );
        let seen: Vec<_> = lines.iter().map(|row| (row.text.as_deref().unwrap(), row.role)).collect();
        assert_eq!(seen, [("a", Role::Query), ("b", Role::Document)]);
    }

    #[test]
    fn a_bad_json_line_is_not_quoted() {
        let lines = rows(b"{\"text\": \"secret\", \"id\": }", InputFormat::Jsonl);
        let error = lines[0].text.as_ref().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"));
    }

    #[test]
    fn an_input_without_lines_has_no_rows() {
        assert!(texts(b"", InputFormat::Lines).is_empty());
        assert_eq!(texts(b"\n", InputFormat::Lines), [Ok(String::new())]);
    }
}
