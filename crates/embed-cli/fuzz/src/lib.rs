//! The readers of the command `embed`, out of its own files: a command is no library.

#![expect(dead_code, reason = "the command uses the rest")]

#[path = "../../src/exit.rs"]
mod exit;
#[path = "../../src/fields.rs"]
mod fields;
#[path = "../../src/form.rs"]
mod form;
#[path = "../../src/fuzz.rs"]
mod fuzz;
#[path = "../../src/input.rs"]
mod input;
#[path = "../../src/keys.rs"]
mod keys;
#[path = "../../src/pipeline.rs"]
mod pipeline;

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
