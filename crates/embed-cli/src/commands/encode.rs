//! `embed encode`: texts in, vectors out, in order and in bounded memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use embed_core::{EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, ModelInfo, Role, Truncation};
use embed_e5::assets::DataHome;
use futures::{StreamExt, stream};
use tokio::sync::mpsc;

use crate::exit::Exit;
use crate::input::{Form, Input, InputRow, Rows};
use crate::meter::Meter;
use crate::output::{Format, Output, OutputRow};
use crate::service::{ServiceArgs, max_text_bytes, parse_role, parse_truncation};

/// Turn texts into vectors.
///
/// Each line of the input is a text; a file that ends in .jsonl has JSON objects with `text` and, if you
/// like, `id`. Rows come out in the order of the input, as they are ready. A row that can't be embedded
/// becomes an error in its place, the others stand, and the exit code is 1.
#[derive(Debug, Args)]
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

    #[command(flatten)]
    service: ServiceArgs,
}

/// Texts of one request. A request is small enough that the first rows come soon, and several are in
/// flight, so that no thread of the engine waits for the next one.
const BATCH: usize = 32;
const IN_FLIGHT: usize = 4;

struct Batch {
    rows: Vec<InputRow>,
    bytes: u64,
}

struct Embedded {
    batch: Batch,
    response: EmbedResponse,
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

pub(crate) async fn run(args: EncodeArgs, home: DataHome) -> Result<Exit, Error> {
    let input = match args.input {
        Some(path) => Input::from_flag(&path, args.input_format),
        None => Input::Texts(args.texts),
    };
    let summary_elsewhere = args.format == Format::Table && args.output.is_none();
    let meter = Meter::new(input.bytes(), args.quiet || summary_elsewhere, args.output.is_some());
    let rows = input.open(max_text_bytes())?;
    let embedder = args.service.load(home).await?;
    let mut output = Output::open(args.format, args.output.as_deref())?;

    let started = Instant::now();
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    // Not a task of the runtime, which would wait for it at the end: a reader may never come back from a
    // terminal.
    thread::spawn(move || read_batches(rows, &sender));
    let batches = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|batch| (batch, receiver))
    });
    let embedder = &embedder;
    let mut embedded = std::pin::pin!(
        batches
            .map(|batch| async { embed(embedder, batch?, args.role, args.truncate).await })
            .buffered(IN_FLIGHT)
    );

    let mut totals = Totals::default();
    while let Some(embedded) = embedded.next().await {
        let Embedded { batch, response } = embedded?;
        write_rows(&mut output, &batch, &response, &mut totals)?;
        output.flush()?;
        meter.advance(totals.rows, totals.tokens, batch.bytes);
    }
    let summary = totals.summary(embedder.model(), started.elapsed());
    output.finish(&summary)?;
    meter.finish(&summary);
    Ok(if totals.failed == 0 { Exit::Done } else { Exit::Failures })
}

#[derive(Default)]
struct Totals {
    rows: u64,
    failed: u64,
    tokens: u64,
}

impl Totals {
    fn summary(&self, model: &ModelInfo, elapsed: Duration) -> String {
        let Self { rows, failed, tokens } = self;
        let seconds = elapsed.as_secs_f64();
        let failed = if *failed == 0 { String::new() } else { format!(", {failed} failed") };
        format!(
            "{rows} texts{failed}, {tokens} tokens in {seconds:.2} s; dimension {}; space {}",
            model.dimension(),
            model.space()
        )
    }
}

/// Sends the rows in batches, and an error of reading after the rows before it. A batch goes off when it is
/// full or when the next row may be long in coming, so that a slow writer at the other end of a pipe gets
/// its answers.
fn read_batches(mut rows: Rows, sender: &mpsc::Sender<Result<Batch, Error>>) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let row = rows.next();
        let ended = !matches!(row, Ok(Some(_)));
        let error = row.map(|row| batch.extend(row)).err();
        if !batch.is_empty() && (batch.len() == BATCH || rows.would_wait() || ended) {
            let bytes = rows.bytes();
            let rows = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            let batch = Batch { rows, bytes };
            if sender.blocking_send(Ok(batch)).is_err() {
                // The writer ended, and says why.
                return;
            }
        }
        if let Some(error) = error {
            let _ = sender.blocking_send(Err(error));
        }
        if ended {
            return;
        }
    }
}

async fn embed(
    embedder: &dyn Embedder,
    batch: Batch,
    role: Role,
    truncation: Truncation,
) -> Result<Embedded, Error> {
    // A row that isn't a text has its error already.
    let texts = batch.rows.iter().filter_map(|row| row.text.as_deref().ok()).map(Arc::<str>::from);
    let request = EmbedRequest::new(texts, role).with_truncation(truncation);
    let response = embedder.embed(request).await?;
    Ok(Embedded { batch, response })
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
            }
            Err(_) => totals.failed += 1,
        }
        output.write(&OutputRow { index: totals.rows, input, row })?;
        totals.rows += 1;
    }
    Ok(())
}
