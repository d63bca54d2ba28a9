//! The readers of the command `embed`, compiled from its files, since a command isn't a library.

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
/// If something doesn't hold that must.
pub fn keys(file: &[u8]) {
    fuzz::api_keys(file);
}

/// An input of lines or JSON lines, depending on its first byte, in pieces whose length is the second byte.
///
/// # Panics
///
/// If something doesn't hold that must.
pub fn lines(input: &[u8]) {
    fuzz::lines(input);
}
