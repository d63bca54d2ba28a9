//! The readers of the command `embed`, out of its own files: a command is no library.

#![expect(dead_code, reason = "the command uses the rest")]

#[path = "../../src/exit.rs"]
mod exit;
#[path = "../../src/fuzz.rs"]
mod fuzz;
#[path = "../../src/keys.rs"]
mod keys;

#[path = "../../src/io"]
mod io {
    pub(crate) mod fields;
    pub(crate) mod format;
    pub(crate) mod input;
    pub(crate) mod lines;
    pub(crate) mod rows;
}

/// A file of API keys.
///
/// # Panics
///
/// As the other one: if something doesn't hold that must.
pub fn keys(file: &[u8]) {
    fuzz::api_keys(file);
}

/// An input of lines or of JSON lines, as its first byte says, which comes in pieces of the length that the second says.
///
/// # Panics
///
/// As the other one.
pub fn lines(input: &[u8]) {
    fuzz::lines(input);
}
