//! The readers of the command `embed`, out of its own files: a command is no library.

#![expect(dead_code, reason = "the command uses the rest")]

#[path = "../../src/exit.rs"]
mod exit;
#[path = "../../src/fields.rs"]
mod fields;
#[path = "../../src/form.rs"]
mod form;
#[path = "../../src/fuzz.rs"]
pub mod fuzz;
#[path = "../../src/input.rs"]
mod input;
#[path = "../../src/keys.rs"]
mod keys;
#[path = "../../src/pipeline.rs"]
mod pipeline;
