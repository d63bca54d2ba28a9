//! A NumPy array, format version 1.0 of
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
//!
//! The number of rows is in the header and is only known at the end, so the header is written last. Until then there are
//! zeros in its place, which no reader accepts as an array.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use embed_core::Space;

use super::destination::OutputFile;
use super::row::{OutputRow, RowWriter, flushed};

/// Magic, version and length, then the dictionary: a multiple of 64 as the format asks.
const HEADER_BYTES: usize = 128;

pub(super) struct NpyWriter {
    out: BufWriter<OutputFile>,
    rows: u64,
    /// The width of the rows of an array without vectors.
    dimension: usize,
    /// Known from the first good row on; all rows must have it, since an array can't name several.
    space: Option<Space>,
    /// Failed rows before the first good one, whose width isn't known yet.
    owed: u64,
}

impl NpyWriter {
    pub(super) fn new(mut out: BufWriter<OutputFile>, dimension: usize) -> io::Result<Self> {
        // Checked before any work is done: a pipe can't seek.
        out.get_mut().stream_position().map_err(|_| {
            io::Error::other("an array is finished at its beginning, so it needs a file and not a pipe")
        })?;
        out.write_all(&[0; HEADER_BYTES])?;
        Ok(Self { out, rows: 0, dimension, space: None, owed: 0 })
    }

    fn write_header(&mut self, dimension: usize) -> io::Result<()> {
        let dict =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {dimension}), }}", self.rows);
        let mut header = b"\x93NUMPY\x01\x00".to_vec();
        header.extend_from_slice(&((HEADER_BYTES - 10) as u16).to_le_bytes());
        header.extend_from_slice(dict.as_bytes());
        header.resize(HEADER_BYTES - 1, b' ');
        header.push(b'\n');
        self.out.write_all(&header)
    }

    fn write_values<'v>(&mut self, values: impl Iterator<Item = &'v f32>) -> io::Result<()> {
        for value in values {
            self.out.write_all(&value.to_le_bytes())?;
        }
        Ok(())
    }

    fn write_nan_rows(&mut self, rows: u64, dimension: usize) -> io::Result<()> {
        for _ in 0..rows {
            self.write_values(std::iter::repeat_n(&f32::NAN, dimension))?;
        }
        Ok(())
    }
}

impl RowWriter for NpyWriter {
    fn write(&mut self, row: &OutputRow<'_>) -> io::Result<()> {
        self.rows += 1;
        match (row.row, &self.space) {
            (Ok(embedding), None) => {
                let dimension = embedding.vector().len();
                self.space = Some(embedding.space().clone());
                self.write_nan_rows(self.owed, dimension)?;
                self.write_values(embedding.vector().iter())
            }
            (Ok(embedding), Some(space)) if embedding.space() != space => {
                Err(io::Error::other("the rows are of several spaces and make no array; use --format jsonl"))
            }
            (Ok(embedding), Some(_)) => self.write_values(embedding.vector().iter()),
            (Err(_), Some(space)) => self.write_nan_rows(1, space.dimension()),
            (Err(_), None) => {
                self.owed += 1;
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(mut self: Box<Self>, _summary: &str) -> io::Result<OutputFile> {
        let dimension = match &self.space {
            Some(space) => space.dimension(),
            None => {
                self.write_nan_rows(self.owed, self.dimension)?;
                self.dimension
            }
        };
        self.out.seek(SeekFrom::Start(0))?;
        self.write_header(dimension)?;
        flushed(self.out)
    }
}
