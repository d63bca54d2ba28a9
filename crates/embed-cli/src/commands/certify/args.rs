//! The arguments of `embed certify`.

use std::path::PathBuf;

use clap::Args;

use crate::commands::args::ReportFormat;

/// Check that a server, or a model in this process, gives right vectors.
///
/// It embeds some fifty texts and looks at what comes back: whether numbers are finite and vectors have one width and one norm;
/// whether a text keeps its vector when it is repeated, in a batch, and among other callers; whether `dimensions` cuts
/// right. If the model is one that runs in this process and its f32 files are in the data folder, its vectors are compared with
/// those: which model, precision, pooling and prompts they are of, how accents are read and where a long text is cut.
///
///   embed certify http://127.0.0.1:11434 --model all-minilm
///   embed certify http://10.0.0.5:8000/v1 --model bge-small-en-v1.5 --key-file key
///   embed certify all-minilm-l6-v2
///
/// The exit code is 1 if a check finds a fault.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct CertifyArgs {
    /// The address of a server that speaks the API of Ollama or OpenAI, or the name of a model in this process.
    pub(super) target: String,

    /// The model to ask a server for; without it, the first that the server lists.
    #[arg(long, value_name = "NAME")]
    pub(super) model: Option<String>,

    /// The model whose vectors are expected; without it, the one that the server's model is named after.
    #[arg(long, value_name = "NAME")]
    pub(super) reference: Option<String>,

    /// A file with the API key of the server.
    #[arg(long, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,

    /// How to write the findings.
    #[arg(long, value_enum, default_value_t = ReportFormat::Table)]
    pub(super) format: ReportFormat,
}
