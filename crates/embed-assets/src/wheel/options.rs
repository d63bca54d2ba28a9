//! How wheels are fetched.

use std::ffi::OsString;
use std::time::Duration;

/// How wheels are fetched.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WheelOptions {
    /// The Python that has `pip`, with arguments if it needs any: `py -3`.
    pub python: Vec<OsString>,
    /// How long `pip` may take. The lock is held while it runs, and others wait for it.
    pub timeout: Duration,
}

impl Default for WheelOptions {
    /// `python3`, and `py -3` on Windows, for half an hour.
    fn default() -> Self {
        let python: &[&str] = if cfg!(windows) { &["py", "-3"] } else { &["python3"] };
        Self { python: python.iter().map(OsString::from).collect(), timeout: Duration::from_secs(30 * 60) }
    }
}
