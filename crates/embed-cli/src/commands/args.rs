//! Arguments that several commands share.

use clap::ValueEnum;
use embed_core::{Error, Role, Truncation};

/// The format of a command's findings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For people.
    #[default]
    Table,
    /// One JSON object a line.
    Jsonl,
}

pub(crate) fn parse_role(name: &str) -> Result<Role, String> {
    name.parse().map_err(|error: Error| error.to_string())
}

pub(crate) fn parse_truncation(name: &str) -> Result<Truncation, String> {
    name.parse().map_err(|error: Error| error.to_string())
}
