//! Where benchmarks that measure time themselves write their figures, for the report of `cargo xtask bench`.

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value;

/// The variable that names the file.
pub const OUT_VARIABLE: &str = "EMBED_BENCH_OUT";

/// The variable that a quick run sets: the seconds that the program has.
pub const QUICK_VARIABLE: &str = "EMBED_BENCH_QUICK";

/// How long this program may take in a quick run; `None` in any other run. A program then chooses fewer texts and rounds,
/// and begins no further round once the time is over.
#[must_use]
pub fn quick_share() -> Option<Duration> {
    // Any other value only says that the run is quick.
    const UNSAID: Duration = Duration::from_secs(20);
    let value = env::var(QUICK_VARIABLE).ok().filter(|value| !value.is_empty())?;
    let seconds = value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Some(seconds.filter(|share| *share > Duration::from_secs(1)).unwrap_or(UNSAID))
}

/// Appends figures, one JSON line each, to the file that [`OUT_VARIABLE`] names; does nothing if it names none.
/// docs/benchmarks.md says what a line holds.
///
/// # Errors
///
/// If the file can't be written.
pub fn append(figures: &[Value]) -> io::Result<()> {
    let Some(path) = env::var_os(OUT_VARIABLE).filter(|path| !path.is_empty()) else { return Ok(()) };
    let lines: String = figures.iter().map(|figure| format!("{figure}\n")).collect();
    // In one write, since another program may append at the same time.
    OpenOptions::new().create(true).append(true).open(path)?.write_all(lines.as_bytes())
}
