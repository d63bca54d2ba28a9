//! How the file of a collection keeps its rows, by its name.

use std::path::Path;

use embed_core::Error;

#[cfg(feature = "parquet")]
use crate::io::tables::TableFormat;

/// How rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CollectionFormat {
    JsonLines,
    #[cfg(feature = "parquet")]
    Table(TableFormat),
}

impl CollectionFormat {
    /// Fails if it is a table and this program has no tables.
    pub(super) fn of(path: &Path) -> Result<Self, Error> {
        if !is_table(path) {
            return Ok(Self::JsonLines);
        }
        #[cfg(feature = "parquet")]
        {
            Ok(TableFormat::by_ending(&ending(path)).map_or(Self::JsonLines, Self::Table))
        }
        #[cfg(not(feature = "parquet"))]
        {
            use embed_core::ErrorKind;
            let fix = "this program was built without Parquet and Arrow; build it with `cargo build --features \
                       parquet`, or migrate JSON lines";
            Err(Error::new(ErrorKind::Config, fix).with_context("file", path.display()))
        }
    }
}

/// Whether the name is that of a table.
pub(super) fn is_table(path: &Path) -> bool {
    ["parquet", "arrow", "arrows"].contains(&ending(path).as_str())
}

fn ending(path: &Path) -> String {
    path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase()
}
