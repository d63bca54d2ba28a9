//! Where benchmarks that take their own time leave their figures, for the report of `cargo xtask bench`.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write};

use serde_json::Value;

/// The variable that names the file.
pub const OUT_VARIABLE: &str = "EMBED_BENCH_OUT";

/// Appends figures, one JSON line each, to the file that [`OUT_VARIABLE`] names; does nothing if it names none.
/// docs/benchmarks.md says what a line holds.
///
/// # Errors
///
/// If the file can't be written.
pub fn append(figures: &[Value]) -> io::Result<()> {
    let Some(path) = env::var_os(OUT_VARIABLE).filter(|path| !path.is_empty()) else { return Ok(()) };
    let lines: String = figures.iter().map(|figure| format!("{figure}\n")).collect();
    // In one write: another program may append, too.
    OpenOptions::new().create(true).append(true).open(path)?.write_all(lines.as_bytes())
}
