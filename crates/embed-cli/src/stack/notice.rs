//! Notices of the stack on standard error.

use std::io::{self, Write};

pub(super) fn notice(what: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(io::stderr(), "embed: {what}");
}
