//! Lines of bytes, in bounded memory.

use std::io::{self, BufRead};

use embed_core::{Error, ErrorKind};

/// A line may hold this much more than the longest text, for the JSON around it.
const JSON_ROOM: usize = 1 << 16;

/// Lines of bytes, in bounded memory.
pub(crate) struct LineReader<R> {
    source: R,
    limit: usize,
    number: u64,
    bytes: u64,
}

/// A line without its end.
pub(crate) struct InputLine {
    pub(crate) bytes: Vec<u8>,
    /// The number of bytes read for it, including its end.
    pub(crate) length: u64,
    /// Whether all of them are in `bytes`; if not, the line was too long.
    pub(crate) whole: bool,
    /// Whether it has an end; the last line of a file may have none.
    pub(crate) ended: bool,
}

/// The longest JSON line for a text of this many bytes, each of which may be written as an escape of six.
pub(crate) fn max_json_bytes(max_text_bytes: usize) -> usize {
    max_text_bytes * 6 + JSON_ROOM
}

impl<R: BufRead> LineReader<R> {
    /// The part of a line beyond `limit` bytes is skipped.
    pub(crate) fn new(source: R, limit: usize) -> Self {
        Self { source, limit, number: 0, bytes: 0 }
    }

    /// The next line. A byte order mark at the start of the first is skipped.
    pub(crate) fn next(&mut self) -> io::Result<Option<InputLine>> {
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

    /// The number of bytes that a line may have.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Where the lines come from.
    pub(crate) fn source(&self) -> &R {
        &self.source
    }

    pub(crate) fn source_mut(&mut self) -> &mut R {
        &mut self.source
    }
}

impl InputLine {
    /// The bytes, if the line wasn't too long.
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

/// Reads a line without its end. The part beyond `limit` is skipped, so that memory stays bounded.
fn read_line(source: &mut dyn BufRead, limit: usize) -> io::Result<Option<InputLine>> {
    let mut bytes = Vec::new();
    let mut length = 0;
    loop {
        let buffer = match source.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let piece = &buffer[..end.map_or(buffer.len(), |end| end + 1)];
        let (used, finished) = (piece.len(), end.is_some() || piece.is_empty());
        // Two more than the limit, so that a line end doesn't count.
        let room = (limit + 2).saturating_sub(bytes.len()).min(used);
        bytes.extend_from_slice(&piece[..room]);
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
            return Ok((length > 0).then_some(InputLine { bytes, length, whole, ended }));
        }
    }
}
