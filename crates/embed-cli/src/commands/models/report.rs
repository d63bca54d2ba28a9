//! What `embed models` writes to standard output.

use embed_assets::{Asset, AssetState, Listed, Verified};
use embed_core::Error;
use embed_encoder::assets::Source;
use embed_encoder::{Precision, Profile};
use indicatif::DecimalBytes;
use serde_json::{Value, json};

use crate::commands::args::ReportFormat;
use crate::io::output::print;

/// The name of `verify`'s row about embedding a text.
pub(super) const TRIAL: &str = "(embeds a text)";

/// The remark about a precision that wasn't measured.
pub(super) fn not_calibrated(profile: &Profile, precision: Precision) -> Option<&'static str> {
    (profile.precision_label(precision) != precision.as_str())
        .then_some("not calibrated: how far its vectors are from those of f32 wasn't measured")
}

/// Remarks in the last column, besides the source.
fn remarks(listed: &Listed) -> String {
    let Listed { asset, pointer, .. } = listed;
    let mut remarks = String::new();
    if let Asset::Model { profile, precision } = asset
        && not_calibrated(profile, *precision).is_some()
    {
        remarks.push_str("; not calibrated");
    }
    if let Some(pointer) = pointer {
        remarks.push_str(if pointer.rolled_back { "; rolled back" } else { "" });
        remarks.push_str(if pointer.previous.is_some() { "; another version to roll back to" } else { "" });
    }
    remarks
}

/// The state of every known asset.
pub(super) fn list(format: ReportFormat, listed: &[Listed]) -> Result<(), Error> {
    match format {
        ReportFormat::Jsonl => lines(listed.iter().map(|listed| as_json(listed).to_string())),
        ReportFormat::Table => {
            let rows = listed.iter().map(|listed| {
                let Listed { asset, state, .. } = listed;
                let (word, size, more) = match state {
                    AssetState::Absent => {
                        ("-", String::new(), remarks(listed).trim_start_matches("; ").to_owned())
                    }
                    AssetState::Present { source: from, bytes } => {
                        ("present", DecimalBytes(*bytes).to_string(), source(from) + &remarks(listed))
                    }
                    AssetState::Damaged(error) => ("damaged", String::new(), error.to_string()),
                    _ => ("unknown", String::new(), String::new()),
                };
                [asset.name().to_owned(), asset.version().to_owned(), word.to_owned(), size, more]
            });
            table(["NAME", "VERSION", "STATE", "SIZE", "SOURCE"], rows.collect())
        }
    }
}

fn as_json(listed: &Listed) -> Value {
    let Listed { asset, folder, state, pointer, .. } = listed;
    let calibrated = match asset {
        Asset::Model { profile, precision } => Some(not_calibrated(profile, *precision).is_none()),
        _ => None,
    };
    let (word, from, bytes, problem) = match state {
        AssetState::Absent => ("absent", None, None, None),
        AssetState::Present { source, bytes } => ("present", Some(source), Some(bytes), None),
        AssetState::Damaged(error) => ("damaged", None, None, Some(error.to_string())),
        _ => ("unknown", None, None, None),
    };
    json!({
        "name": asset.name(),
        "version": asset.version(),
        "state": word,
        "source": from,
        "bytes": bytes,
        "problem": problem,
        "folder": folder,
        "calibrated": calibrated,
        "previous": pointer.as_ref().and_then(|pointer| pointer.previous.clone()),
        "rolled_back": pointer.as_ref().is_some_and(|pointer| pointer.rolled_back),
    })
}

/// The result for every file.
pub(super) fn verified(format: ReportFormat, verified: &[Verified]) -> Result<(), Error> {
    let problem = |file: &Verified| file.outcome.as_ref().err().map(ToString::to_string);
    match format {
        ReportFormat::Jsonl => lines(verified.iter().map(|file| {
            let value = json!({
                "name": file.asset.name(),
                "version": file.asset.version(),
                "file": file.file,
                "bytes": file.bytes,
                "ok": file.outcome.is_ok(),
                "problem": problem(file),
            });
            value.to_string()
        })),
        ReportFormat::Table => {
            let rows = verified.iter().map(|file| {
                [
                    file.asset.to_string(),
                    file.file.clone(),
                    DecimalBytes(file.bytes).to_string(),
                    problem(file).unwrap_or_else(|| "ok".to_owned()),
                ]
            });
            table(["NAME", "FILE", "SIZE", "OUTCOME"], rows.collect())
        }
    }
}

/// Where files came from, in a few words.
pub(super) fn source(source: &Source) -> String {
    match source {
        Source::Hub { repository, revision } => format!("hub {repository}@{revision:.8}"),
        Source::Wheel { package, version, .. } => format!("wheel {package} {version}"),
        Source::Folder { sha256 } => format!("folder with SHA-256 {sha256:.8}"),
        _ => "elsewhere".to_owned(),
    }
}

fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> Result<(), Error> {
    let widths: [usize; N] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    });
    let line = |cells: [&str; N]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    lines([line(head)].into_iter().chain(rows.iter().map(|row| line(row.each_ref().map(String::as_str)))))
}

fn lines(lines: impl IntoIterator<Item = String>) -> Result<(), Error> {
    let text: String = lines.into_iter().flat_map(|line| [line, "\n".to_owned()]).collect();
    print(&text)
}
