//! The word table of a model, read from its file row by row.
//!
//! A session maps the table. Every page that is touched then counts as memory of this process, once for each session, until
//! after a few thousand texts that is the whole table several times. Rows that are read instead lie in the system's cache of
//! files alone, which all processes share.

use std::fs::File;
use std::io;

/// Where the rows of a table lie.
#[derive(Debug)]
pub(crate) struct WordTable {
    pub(crate) file: File,
    /// Where the first row begins.
    pub(crate) offset: u64,
    pub(crate) rows: u64,
    /// Bytes of a row.
    pub(crate) row_bytes: usize,
}

impl WordTable {
    /// Whether rows can be read on this system without a cursor, which threads would share.
    pub(crate) const AVAILABLE: bool = cfg!(unix);

    /// Reads the rows with these ids, which have this many bytes, one after the other.
    pub(super) fn read(&self, ids: &[i64], row_bytes: usize, packed: &mut [u8]) -> io::Result<()> {
        if row_bytes != self.row_bytes {
            return Err(io::Error::other("the rows of the table have another width"));
        }
        for (&id, row) in ids.iter().zip(packed.chunks_exact_mut(row_bytes)) {
            let id = u64::try_from(id).ok().filter(|&id| id < self.rows);
            let id = id.ok_or_else(|| io::Error::other("the table has no such row"))?;
            read_at(&self.file, row, self.offset + id * row_bytes as u64)?;
        }
        Ok(())
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(not(unix))]
fn read_at(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn rows_come_in_the_order_of_their_ids_and_none_from_beyond_the_table() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"--aabbccdd").unwrap();
        let table = WordTable { file, offset: 2, rows: 3, row_bytes: 2 };
        let mut packed = [0; 6];
        table.read(&[2, 0, 2], 2, &mut packed).unwrap();
        assert_eq!(&packed, b"ccaacc");
        for missing in [3, -1, i64::MAX] {
            assert!(table.read(&[missing], 2, &mut packed).is_err(), "{missing}");
        }
        assert!(table.read(&[0], 3, &mut packed).is_err());
        // The file was cut since it was opened.
        table.file.set_len(5).unwrap();
        assert!(table.read(&[0], 2, &mut packed).is_ok() && table.read(&[1], 2, &mut packed).is_err());
    }
}
