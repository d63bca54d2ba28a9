//! `embed route`: where each text would go, and why, without embedding it.

use std::sync::Arc;

use clap::Args;
use embed_core::{EmbedRequest, Error, Role};
use embed_encoder::assets::DataHome;
use embed_router::{Decision, LanguageDetector, Router};
use serde::Serialize;

use crate::commands::args::ReportFormat;
use crate::exit::Exit;
use crate::io::input::{InputArgs, ReadOptions};
use crate::io::output::{pad, print};
use crate::io::rows::{InputRow, RowSource};
use crate::settings::{Settings, flags};
use crate::stack::{self, max_text_bytes};

/// Say where each text would go, and why, without embedding it.
///
/// The services are those of `embed encode`; with `--service hybrid`, English goes to Ollama, or to all-MiniLM in
/// this process if no setting names a server, and everything else to E5. Only Ollama is called (for the space of its model);
/// no model is loaded.
#[derive(Debug, Args)]
#[command(args = flags(&["service", "e5", "ollama", "router"]))]
pub(crate) struct RouteArgs {
    #[command(flatten)]
    input: InputArgs,

    /// How to write the decisions.
    #[arg(long, value_enum, default_value_t = ReportFormat::Jsonl)]
    format: ReportFormat,
}

/// The fields, in the order in which the command promises to write them.
#[derive(Serialize)]
struct DecisionLine<'a> {
    index: u64,
    language: &'a str,
    confidence: f32,
    rule: &'a str,
    service: &'a str,
    space: Option<&'a str>,
}

#[derive(Serialize)]
struct FailedLine {
    index: u64,
    error: String,
}

const TEXT_COLUMNS: usize = 40;

impl RouteArgs {
    /// Checks flags that exclude or need each other.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        self.input.check()
    }
}

pub(crate) async fn run(args: RouteArgs, home: &DataHome, settings: &Settings) -> Result<Exit, Error> {
    let reading = ReadOptions { max_text_bytes: max_text_bytes(), role: Role::Document };
    let mut rows = args.input.input().open(reading)?;
    let router = stack::decider(settings, home).await?;
    if args.format == ReportFormat::Table {
        print(&columns(["language", "confidence", "rule", "service", "text"]))?;
    }
    let (mut index, mut failed) = (0, false);
    while let Some(row) = rows.next()? {
        failed |= row.text.is_err();
        print(&line(&router, index, &row, args.format)?)?;
        index += 1;
    }
    Ok(if failed { Exit::Failures } else { Exit::Done })
}

/// A line of the table, or its head.
fn columns([language, confidence, rule, service, text]: [&str; 5]) -> String {
    let rules = LanguageDetector::rules().map(str::len).max().unwrap_or(0);
    let line = format!("{language:<8}  {confidence:>10}  {rule:<rules$}  {service:<8}  {text}");
    line.trim_end().to_owned() + "\n"
}

fn line(router: &Router, index: u64, row: &InputRow, format: ReportFormat) -> Result<String, Error> {
    let text = match &row.text {
        Ok(text) => text,
        Err(error) if format == ReportFormat::Table => {
            return Ok(columns(["-", "-", "-", "-", &error.to_string()]));
        }
        Err(error) => {
            return Ok(serde_json::json!(FailedLine { index, error: error.to_string() }).to_string() + "\n");
        }
    };
    let request = EmbedRequest::new([Arc::<str>::from(text.as_str())], row.role);
    let decision = router.decide(&request)?.swap_remove(0);
    Ok(show(index, text, &decision, format))
}

fn show(index: u64, text: &str, decision: &Decision, format: ReportFormat) -> String {
    let (language, confidence, rule) = match &decision.detection {
        Some(found) => (&*found.language, found.confidence, &*found.rule),
        None => ("und", 0.0, "forced"),
    };
    let service = &*decision.route;
    match format {
        ReportFormat::Table => {
            let text = pad(text, TEXT_COLUMNS);
            columns([language, &format!("{confidence:.2}"), rule, service, text.trim_end()])
        }
        ReportFormat::Jsonl => {
            let space = decision.space.as_ref().map(|space| space.id());
            let line = DecisionLine { index, language, confidence, rule, service, space };
            // Strings and numbers can always be written.
            serde_json::to_string(&line).unwrap_or_default() + "\n"
        }
    }
}
