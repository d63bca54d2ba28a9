//! What a test needs and may not have: skipped loudly at home, a failure in CI.

use std::env;
use std::fmt::Display;
use std::io::Write;

/// The variable that makes a missing part a failure, as `CI` does.
pub const REQUIRE_VARIABLE: &str = "EMBED_REQUIRE";

/// The part, if it is there. If it isn't, the test should return: the reason is printed.
///
/// # Panics
///
/// If it isn't there and `CI` or `EMBED_REQUIRE` is set: nothing passes in CI because something is missing.
pub fn require<T, E: Display>(part: &str, found: Result<T, E>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(error) if is_set("CI") || is_set(REQUIRE_VARIABLE) => panic!("{part} is needed here: {error}"),
        Err(error) => {
            // `eprintln!` would be swallowed by the test harness, since the test passes.
            let _ = writeln!(std::io::stderr(), "SKIPPED, for lack of {part}: {error}");
            None
        }
    }
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty() && value != "0" && value != "false")
}
