//! `embed encode`: texts in, vectors out, in order and in bounded memory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use embed_core::{EmbedResponse, Error, ErrorKind, ModelInfo, Role, Truncation};
use embed_e5::assets::DataHome;

use crate::exit::Exit;
use crate::input::{Form, Input};
use crate::meter::Meter;
use crate::output::{Format, Output, OutputRow};
use crate::pipeline::{Batch, embed_rows};
use crate::service::{load_cached, max_text_bytes, parse_role, parse_truncation};
use crate::settings::{Settings, flags};

/// Turn texts into vectors.
///
/// Each line of the input is a text; a file that ends in .jsonl has JSON objects with `text` and, if you
/// like, `id`. Rows come out in the order of the input, as they are ready. A row that can't be embedded
/// becomes an error in its place, the others stand, and the exit code is 1.
#[derive(Debug, Args)]
#[command(args = flags(&["service", "e5", "ollama", "cache"]))]
pub(crate) struct EncodeArgs {
    /// The texts; leave them out and use --input for many.
    #[arg(conflicts_with = "input")]
    texts: Vec<String>,

    /// Read texts from a file, or from standard input with `-`.
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// What a line of the input is; by default the file's name decides.
    #[arg(long, value_enum, requires = "input")]
    input_format: Option<Form>,

    /// What the texts are for: E5 gives a query and a document of the same words different vectors.
    #[arg(long, default_value = "document", value_parser = parse_role)]
    role: Role,

    /// What to do with a text longer than the model reads: error, end (drop the end), start (drop the
    /// start), chunk-mean (embed all of it in chunks and take the mean).
    #[arg(long, default_value = "error", value_parser = parse_truncation)]
    truncate: Truncation,

    /// How to write the rows.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,

    /// Write to a file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// No progress and no summary on standard error.
    #[arg(short, long)]
    quiet: bool,
}

impl EncodeArgs {
    /// What is wrong with the flags together.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let same =
            |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
        match (&self.input, &self.output) {
            (None, _) if self.texts.is_empty() => {
                Err("there is nothing to embed: give texts, or --input FILE")
            }
            (Some(input), Some(output)) if same(input, output) => {
                Err("--input and --output are the same file")
            }
            (_, None) if self.format == Format::Npy => Err("--format npy needs --output FILE"),
            _ => Ok(()),
        }
    }
}

pub(crate) async fn run(args: EncodeArgs, home: DataHome, settings: &Settings) -> Result<Exit, Error> {
    let input = match args.input {
        Some(path) => Input::from_flag(&path, args.input_format),
        None => Input::Texts(args.texts),
    };
    let summary_elsewhere = args.format == Format::Table && args.output.is_none();
    let meter = Meter::new(input.bytes(), args.quiet || summary_elsewhere, args.output.is_some());
    let rows = input.open(max_text_bytes())?;
    let stack = load_cached(settings, home).await?;
    let mut output = Output::open(args.format, args.output.as_deref())?;

    let started = Instant::now();
    let mut totals = Totals::default();
    let settings = (args.role, args.truncate);
    embed_rows(rows, &*stack.embedder, settings, |batch, response| {
        write_rows(&mut output, batch, response, &mut totals)?;
        output.flush()?;
        meter.advance(totals.rows, totals.tokens, batch.bytes);
        Ok(())
    })
    .await?;
    stack.finish().await;
    let summary = totals.summary(stack.embedder.model(), started.elapsed());
    output.finish(&summary)?;
    meter.finish(&summary);
    Ok(if totals.failed == 0 { Exit::Done } else { Exit::Failures })
}

#[derive(Default)]
struct Totals {
    rows: u64,
    failed: u64,
    tokens: u64,
    cached: u64,
}

impl Totals {
    fn summary(&self, model: &ModelInfo, elapsed: Duration) -> String {
        let Self { rows, failed, tokens, cached } = self;
        let seconds = elapsed.as_secs_f64();
        let failed = if *failed == 0 { String::new() } else { format!(", {failed} failed") };
        let cached = if *cached == 0 { String::new() } else { format!(", {cached} from the cache") };
        format!(
            "{rows} texts{failed}{cached}, {tokens} tokens in {seconds:.2} s; dimension {}; space {}",
            model.dimension(),
            model.space()
        )
    }
}

fn write_rows(
    output: &mut Output,
    batch: &Batch,
    response: &EmbedResponse,
    totals: &mut Totals,
) -> Result<(), Error> {
    let mut answers = response.rows();
    for input in &batch.rows {
        let row = match &input.text {
            Ok(_) => answers.next().ok_or_else(|| Error::new(ErrorKind::Internal, "a row has no answer"))?,
            Err(error) => Err(error),
        };
        match row {
            Ok(embedding) => {
                totals.tokens += embedding.info().tokens.map_or(0, |tokens| tokens.used as u64);
                totals.cached += u64::from(embedding.info().tier.is_some());
            }
            Err(_) => totals.failed += 1,
        }
        output.write(&OutputRow { index: totals.rows, input, row })?;
        totals.rows += 1;
    }
    Ok(())
}
