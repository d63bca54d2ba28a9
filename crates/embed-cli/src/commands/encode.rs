//! `embed encode`: texts in, vectors out, in order and in bounded memory.

use std::collections::BTreeMap;
use std::iter;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use embed_core::{EmbedRequest, EmbedResponse, Embedding, EmbeddingRef, Error, ErrorKind, Role, Truncation};
use embed_e5::assets::DataHome;
use embed_router::{Coverage, Plan};

use crate::cache::{self, finish};
use crate::exit::Exit;
use crate::input::{Form, Input, InputRow, is_same_file};
use crate::meter::Meter;
use crate::output::{Format, Output, OutputRow};
use crate::pipeline::{Batch, call_rows};
use crate::service::{max_text_bytes, parse_role, parse_truncation};
use crate::settings::{Settings, flags};

/// Turn texts into vectors.
///
/// Each line of the input is a text; a file that ends in .jsonl has JSON objects with `text` and, if you
/// like, `id`. Rows come out in the order of the input, as they are ready. A row that can't be embedded
/// becomes an error in its place, the others stand, and the exit code is 1.
#[derive(Debug, Args)]
#[command(args = flags(&["service", "e5", "ollama", "router", "cache"]))]
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

    /// Write all vectors that a text needs where documents are in several spaces, one row each: to search
    /// with (query), or to be stored with (document).
    #[arg(long, value_enum, conflicts_with = "role")]
    plan: Option<Purpose>,

    /// Which vectors a document gets: `route` is the cheapest, and queries in a language that this model
    /// doesn't read can't find it; `reachable` has one for each space that a query may ask.
    #[arg(long, value_enum, requires = "plan", default_value = "reachable")]
    coverage: Reach,

    /// The collection or tenant that the texts belong to: what a rollout moves as a whole.
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,

    /// How to write the rows.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,

    /// Give each JSON line its text and role too, so that the file can be migrated to another model.
    #[arg(long)]
    with_text: bool,

    /// Write to a file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// No progress and no summary on standard error.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Purpose {
    Query,
    Document,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reach {
    Route,
    Reachable,
}

impl EncodeArgs {
    /// What is wrong with the flags together.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match (&self.input, &self.output) {
            (None, _) if self.texts.is_empty() => {
                Err("there is nothing to embed: give texts, or --input FILE")
            }
            (Some(input), Some(output)) if is_same_file(input, output) => {
                Err("--input and --output are the same file")
            }
            _ if self.with_text && self.format != Format::Jsonl => Err(
                "--with-text is for --format jsonl; a table has the texts, an array has no place for them",
            ),
            (_, None) if self.format == Format::Npy => Err("--format npy needs --output FILE"),
            _ => Ok(()),
        }
    }
}

pub(crate) async fn run(args: EncodeArgs, home: DataHome, settings: &Settings) -> Result<Exit, Error> {
    let role = match args.plan {
        Some(Purpose::Query) => Role::Query,
        Some(Purpose::Document) => Role::Document,
        None => args.role,
    };
    let mut request = EmbedRequest::new([""; 0], role).with_truncation(args.truncate);
    if let Some(partition) = args.partition {
        request = request.with_partition(partition);
    }
    let input = match args.input {
        Some(path) => Input::from_flag(&path, args.input_format),
        None => Input::Texts(args.texts),
    };
    let summary_elsewhere = args.format == Format::Table && args.output.is_none();
    let meter = Meter::new(input.bytes(), args.quiet || summary_elsewhere, args.output.is_some());
    let rows = input.open(max_text_bytes())?;
    let cache = cache::open(settings).await?;
    let text_role = args.with_text.then_some(role);
    let open =
        || Ok::<_, Error>(Sink::new(Output::open(args.format, args.output.as_deref(), text_role)?, &meter));
    let sink = if args.plan.is_some() {
        let router = settings.router(home, cache.as_ref()).await?;
        let coverage = match args.coverage {
            Reach::Route => Coverage::Route,
            Reach::Reachable => Coverage::Reachable,
        };
        let mut sink = open()?;
        let plan = async |texts| router.plan(request.with_texts(texts), coverage).await;
        call_rows(rows, plan, |batch, plans: &Vec<Plan>| sink.batch(batch, plans.iter().map(vectors)))
            .await?;
        sink
    } else {
        let embedder = settings.load_behind(home, cache.as_ref()).await?;
        let mut sink = open()?;
        let embed = async |texts| embedder.embed(request.with_texts(texts)).await;
        let each = |batch: &Batch<InputRow>, response: &EmbedResponse| {
            sink.batch(batch, response.rows().map(iter::once))
        };
        call_rows(rows, embed, each).await?;
        sink
    };
    finish(cache.as_ref()).await;
    sink.finish()
}
fn vectors(plan: &Plan) -> impl Iterator<Item = Result<EmbeddingRef<'_>, &Error>> {
    plan.items.iter().map(|item| item.outcome.as_ref().map(Embedding::as_ref))
}

/// Where rows go, and what is known of those that went.
struct Sink<'a> {
    output: Output,
    meter: &'a Meter,
    started: Instant,
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    texts: u64,
    failed: u64,
    tokens: u64,
    cached: u64,
    spaces: BTreeMap<String, usize>,
}

impl<'a> Sink<'a> {
    fn new(output: Output, meter: &'a Meter) -> Self {
        Self { output, meter, started: Instant::now(), totals: Totals::default() }
    }

    /// Writes a batch: for each text, the rows that it got.
    fn batch<'r, R>(&mut self, batch: &Batch<InputRow>, answers: impl Iterator<Item = R>) -> Result<(), Error>
    where
        R: IntoIterator<Item = Result<EmbeddingRef<'r>, &'r Error>>,
    {
        let mut answers = answers;
        for input in &batch.rows {
            match &input.text {
                Ok(_) => {
                    let missing = || Error::new(ErrorKind::Internal, "a row has no answer");
                    for row in answers.next().ok_or_else(missing)? {
                        self.row(input, row)?;
                    }
                }
                Err(error) => self.row(input, Err(error))?,
            }
            self.totals.texts += 1;
        }
        self.output.flush()?;
        self.meter.advance(self.totals.texts, self.totals.tokens, batch.bytes);
        Ok(())
    }

    fn row(&mut self, input: &InputRow, row: Result<EmbeddingRef<'_>, &Error>) -> Result<(), Error> {
        match row {
            Ok(embedding) => {
                let (info, space) = (embedding.info(), embedding.space());
                self.totals.tokens += info.tokens.map_or(0, |tokens| tokens.used as u64);
                self.totals.cached += u64::from(info.tier.is_some());
                if !self.totals.spaces.contains_key(space.id()) {
                    self.totals.spaces.insert(space.id().to_owned(), space.dimension());
                }
            }
            Err(_) => self.totals.failed += 1,
        }
        self.output.write(&OutputRow { index: self.totals.texts, input, row })
    }

    fn finish(mut self) -> Result<Exit, Error> {
        let summary = self.totals.summary(self.started.elapsed());
        self.output.finish(&summary)?;
        self.meter.finish(&summary);
        Ok(if self.totals.failed == 0 { Exit::Done } else { Exit::Failures })
    }
}

impl Totals {
    fn summary(&self, elapsed: Duration) -> String {
        let Self { texts, failed, tokens, cached, spaces } = self;
        let seconds = elapsed.as_secs_f64();
        let mut summary = format!("{texts} texts");
        if *failed > 0 {
            summary += &format!(", {failed} failed");
        }
        if *cached > 0 {
            summary += &format!(", {cached} from the cache");
        }
        summary += &format!(", {tokens} tokens in {seconds:.2} s");
        for (space, dimension) in spaces {
            summary += &format!("; dimension {dimension}; space {space}");
        }
        summary
    }
}
