//! The memory of the process that runs the tests.

use std::fs;

/// Bytes of multilingual-e5-small in int8 below which its word table is in 4 bits, as from the wheel. A larger one is from the
/// hub, and each session maps its table.
pub const LARGEST_WITH_4_BITS: u64 = 90_000_000;

/// Bytes of this process that are resident.
///
/// # Panics
///
/// If `/proc/self/status` doesn't say, as on systems other than Linux.
#[must_use]
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_else(|error| panic!("no status: {error}"));
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("no VmRSS in {status}")) * 1024
}
