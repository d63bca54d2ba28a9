//! The load generator `wrk`, in a separate process.

use std::io;
use std::process::Command;

use serde::Deserialize;

/// What it asks, and what it says at the end.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/serve/post.lua");

/// What one run saw.
#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    requests: u64,
    us: u64,
    p50_us: f64,
    p99_us: f64,
    /// Requests without an answer, or with another status than 2xx and 3xx.
    pub(crate) failed: u64,
}

impl Run {
    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 * 1e6 / self.us as f64
    }

    pub(crate) fn p50_ms(&self) -> f64 {
        self.p50_us / 1e3
    }

    pub(crate) fn p99_ms(&self) -> f64 {
        self.p99_us / 1e3
    }
}

/// Whether it is on this machine.
pub(crate) fn find() -> io::Result<()> {
    // It has no option that does nothing; without any it prints its usage.
    Command::new("wrk").output().map(drop)
}

/// Posts a body over so many connections, by one thread, for so many seconds.
pub(crate) fn run(url: &str, body: &str, connections: usize, seconds: u64) -> Run {
    let mut command = Command::new("wrk");
    command.args([
        "-t1",
        &format!("-c{connections}"),
        &format!("-d{seconds}s"),
        "-s",
        SCRIPT,
        url,
        "--",
        body,
    ]);
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let last = printed.lines().last().unwrap_or_default();
    serde_json::from_str(last)
        .unwrap_or_else(|error| panic!("{error}: {printed}{}", String::from_utf8_lossy(&output.stderr)))
}
