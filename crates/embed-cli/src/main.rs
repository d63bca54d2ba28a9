//! The command `embed`.
fn main() {}
