//! `embed encode`: texts in, vectors out, in order and in bounded memory.

use std::collections::BTreeMap;
use std::iter;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use embed_cache::Cache;
use embed_core::{
    Coverage, EmbedOptions, EmbedRequest, EmbedResponse, Embedder, Embedding, EmbeddingRef, Error, ErrorKind,
    Role, Truncation,
};
use embed_encoder::assets::DataHome;
use embed_router::Plan;

use crate::commands::args::{parse_role, parse_truncation};
use crate::exit::Exit;
use crate::io::input::{InputArgs, InputRows, ReadOptions, is_same_file};
use crate::io::output::destination::Destination;
use crate::io::output::{Output, OutputFormat, OutputOptions, OutputRow};
use crate::io::pipeline::{AnswersByRole, call_rows};
use crate::io::row_progress::RowProgress;
use crate::io::rows::{Batch, InputRow};
use crate::settings::{Settings, flags};
use crate::signals::wait_for_signal;
use crate::stack::cache;
use crate::stack::{self, max_text_bytes};

/// Turn texts into vectors.
///
/// Each line of the input is a text. A file that ends in .jsonl, .ndjson or .jsonlines has JSON objects with `text` and,
/// if you like, `id` and `role` (query or document, which wins over --role); its empty lines are skipped. Rows come
/// out in the order of the input, as they are ready. A row that can't be embedded becomes an error in its place; the
/// others aren't affected, and the exit code is 1.
///
/// The file of --output appears when it is complete: a run that ends early leaves none, and keeps an older one as it
/// was.
#[derive(Debug, Args)]
#[command(args = flags(&["service", "e5", "ollama", "router", "cache"]))]
pub(crate) struct EncodeArgs {
    #[command(flatten)]
    input: InputArgs,

    /// What the texts are for: E5 gives a query and a document of the same words different vectors.
    #[arg(long, default_value = "document", value_parser = parse_role)]
    role: Role,

    /// What to do with a text longer than the model reads: error, end (drop the end), start (drop the
    /// start), chunk-mean (embed all of it in chunks and take the mean).
    #[arg(long, default_value = "error", value_parser = parse_truncation)]
    truncate: Truncation,

    /// For documents in several spaces: write every vector that a text needs, one row each, to search
    /// with (query) or to store (document).
    #[arg(long, value_enum, conflicts_with = "role")]
    plan: Option<Purpose>,

    /// Which vectors a document gets. `route` is the cheapest: one vector, which queries in a language that its model
    /// doesn't read can't find. `reachable`: one for each space that a query may search.
    #[arg(long, value_parser = coverages(), requires = "plan", default_value = "reachable")]
    coverage: Coverage,

    /// The collection or tenant that the texts belong to, which a rollout moves as a whole.
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,

    /// How to write the rows.
    #[arg(long, value_enum, default_value_t = OutputFormat::Jsonl)]
    format: OutputFormat,

    /// Also write text and role into each JSON line, so that the file can be migrated to another model.
    #[arg(long)]
    with_text: bool,

    /// Write to a file instead of standard output, which is also `-`.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Replace an existing output.
    #[arg(long, requires = "output")]
    force: bool,

    /// No progress and no summary on standard error.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Purpose {
    Query,
    Document,
}

impl EncodeArgs {
    /// Checks flags that exclude or need each other.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        self.input.check()?;
        match (&self.input.input, &self.output) {
            (Some(input), Some(output)) if is_same_file(input, output) => {
                Err("--input and --output are the same file")
            }
            _ if self.with_text && self.format != OutputFormat::Jsonl => Err(
                "--with-text is for --format jsonl; a table has the texts, an array has no place for them",
            ),
            (_, output)
                if self.format == OutputFormat::Npy && Destination::of(output.as_deref()).is_stdout() =>
            {
                Err("--format npy needs --output FILE")
            }
            _ => Ok(()),
        }
    }

    /// The role of texts whose row has none.
    fn role(&self) -> Role {
        match self.plan {
            Some(Purpose::Query) => Role::Query,
            Some(Purpose::Document) => Role::Document,
            None => self.role,
        }
    }

    fn options(&self, role: Role) -> EmbedOptions {
        let options = EmbedOptions::new(role).with_truncation(self.truncate);
        match &self.partition {
            Some(partition) => options.with_partition(partition.as_str()),
            None => options,
        }
    }
}

fn coverages() -> impl TypedValueParser<Value = Coverage> {
    PossibleValuesParser::new(Coverage::ALL.map(Coverage::as_str)).try_map(|name| name.parse::<Coverage>())
}

pub(crate) async fn run(mut args: EncodeArgs, home: DataHome, settings: &Settings) -> Result<Exit, Error> {
    let destination = Destination::of(args.output.as_deref());
    destination.check(args.force)?;
    let input = std::mem::take(&mut args.input).input();
    let to_terminal = destination.is_stdout();
    let summary_elsewhere = args.format == OutputFormat::Table && to_terminal;
    let progress = RowProgress::new(input.bytes(), args.quiet || summary_elsewhere, !to_terminal);
    let rows = input.open(ReadOptions { max_text_bytes: max_text_bytes(), role: args.role() })?;
    let cache = cache::open(settings).await?;
    let run =
        EncodeRun { args: &args, destination: &destination, cache: cache.as_ref(), progress: &progress };
    let encoded = run.run(rows, home, settings).await;
    // Also after an error, so that the vectors computed by then are cached for the next run.
    cache::finish(cache.as_ref()).await;
    encoded?.finish()
}

/// What all rows of one run share.
struct EncodeRun<'a> {
    args: &'a EncodeArgs,
    destination: &'a Destination,
    cache: Option<&'a Cache>,
    progress: &'a RowProgress,
}

impl<'a> EncodeRun<'a> {
    async fn run(&self, rows: InputRows, home: DataHome, settings: &Settings) -> Result<Sink<'a>, Error> {
        let options = [self.args.options(Role::Query), self.args.options(Role::Document)];
        let request =
            |texts, role| EmbedRequest::new::<Arc<str>>(texts, &options[usize::from(role == Role::Document)]);
        if self.args.plan.is_some() {
            let router = stack::router(settings, home, self.cache).await?;
            let mut sink = self.sink(router.model().dimension())?;
            let plan = async |texts, role| router.plan(request(texts, role), self.args.coverage).await;
            let each = |batch: &Batch<InputRow>, plans: &AnswersByRole<Vec<Plan>>| {
                sink.batch(batch, plans, |plans| plans.iter().map(vectors))
            };
            self.until_stopped(call_rows(rows, plan, each)).await?;
            return Ok(sink);
        }
        let embedder = stack::load(settings, home, self.cache).await?;
        let mut sink = self.sink(embedder.model().dimension())?;
        let embed = async |texts, role| embedder.embed(request(texts, role)).await;
        let each = |batch: &Batch<InputRow>, answers: &AnswersByRole<EmbedResponse>| {
            sink.batch(batch, answers, |response| response.rows().map(iter::once))
        };
        self.until_stopped(call_rows(rows, embed, each)).await?;
        Ok(sink)
    }

    fn sink(&self, dimension: usize) -> Result<Sink<'a>, Error> {
        let output = Output::open(&OutputOptions {
            format: self.args.format,
            destination: self.destination.clone(),
            replace: self.args.force,
            with_text: self.args.with_text,
            dimension,
        })?;
        Ok(Sink { output, progress: self.progress, started: Instant::now(), totals: Totals::default() })
    }

    /// Waits for the rows; if there is a file to remove on a signal, also for a signal.
    async fn until_stopped(&self, rows: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        let Destination::File(path) = self.destination else { return rows.await };
        let mut stopped = pin!(wait_for_signal());
        tokio::select! {
            done = rows => done,
            signal = &mut stopped => signal.and_then(|()| {
                let what = "stopped by a signal; the output was not finished, and nothing of it is kept";
                Err(Error::new(ErrorKind::Unavailable, what).with_context("file", path.display()))
            }),
        }
    }
}

fn vectors(plan: &Plan) -> impl Iterator<Item = Result<EmbeddingRef<'_>, &Error>> {
    plan.items.iter().map(|item| item.outcome.as_ref().map(Embedding::as_view))
}

/// Where rows are written, and the counts of those that were.
struct Sink<'a> {
    output: Output,
    progress: &'a RowProgress,
    started: Instant,
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    texts: u64,
    failed: u64,
    tokens: u64,
    /// Whether a service didn't report the tokens of a text, so that their sum isn't known.
    uncounted: bool,
    cached: u64,
    spaces: BTreeMap<String, usize>,
}

impl Sink<'_> {
    /// Writes a batch: the rows of each text. `rows` returns them for the texts of an answer.
    fn batch<'r, A: 'r, I, R>(
        &mut self,
        batch: &Batch<InputRow>,
        answers: &'r AnswersByRole<A>,
        rows: impl Fn(&'r A) -> I,
    ) -> Result<(), Error>
    where
        I: Iterator<Item = R>,
        R: IntoIterator<Item = Result<EmbeddingRef<'r>, &'r Error>>,
    {
        let mut queries = answers.of(Role::Query).map(&rows);
        let mut documents = answers.of(Role::Document).map(&rows);
        for input in &batch.rows {
            match &input.text {
                Ok(_) => {
                    let of_role = if input.role == Role::Query { &mut queries } else { &mut documents };
                    let missing = || Error::new(ErrorKind::Internal, "a row has no answer");
                    for row in of_role.as_mut().and_then(Iterator::next).ok_or_else(missing)? {
                        self.row(input, row)?;
                    }
                }
                Err(error) => self.row(input, Err(error))?,
            }
            self.totals.texts += 1;
        }
        self.output.flush()?;
        self.progress.advance(self.totals.texts, self.totals.tokens(), batch.bytes);
        Ok(())
    }

    fn row(&mut self, input: &InputRow, row: Result<EmbeddingRef<'_>, &Error>) -> Result<(), Error> {
        match row {
            Ok(embedding) => {
                let (info, space) = (embedding.info(), embedding.space());
                self.totals.tokens += info.tokens.map_or(0, |tokens| tokens.used as u64);
                self.totals.uncounted |= info.tokens.is_none();
                self.totals.cached += u64::from(info.tier.is_some());
                if !self.totals.spaces.contains_key(space.id()) {
                    self.totals.spaces.insert(space.id().to_owned(), space.dimension());
                }
            }
            Err(_) => self.totals.failed += 1,
        }
        self.output.write(&OutputRow { index: self.totals.texts, input, row })
    }

    fn finish(self) -> Result<Exit, Error> {
        let summary = self.totals.summary(self.started.elapsed());
        self.output.finish(&summary)?;
        self.progress.finish(&summary);
        Ok(if self.totals.failed == 0 { Exit::Done } else { Exit::Failures })
    }
}

impl Totals {
    /// The tokens of all texts, if they are known.
    fn tokens(&self) -> Option<u64> {
        (!self.uncounted).then_some(self.tokens)
    }

    fn summary(&self, elapsed: Duration) -> String {
        let Self { texts, failed, cached, spaces, .. } = self;
        let seconds = elapsed.as_secs_f64();
        let mut summary = format!("{texts} texts");
        if *failed > 0 {
            summary += &format!(", {failed} failed");
        }
        if *cached > 0 {
            summary += &format!(", {cached} from the cache");
        }
        if let Some(tokens) = self.tokens() {
            summary += &format!(", {tokens} tokens");
        }
        summary += &format!(" in {seconds:.2} s");
        for (space, dimension) in spaces {
            summary += &format!("; dimension {dimension}; space {space}");
        }
        summary
    }
}
