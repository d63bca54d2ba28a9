//! `embed migrate`: moves a collection from one space to another, row by row; it can be resumed.

#[cfg(feature = "parquet")]
mod assembly;
mod checkpoint;
mod collection;
mod format;
mod job;
mod json_lines;
mod retry;
mod row;
mod source;
#[cfg(feature = "parquet")]
mod table;
mod tally;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use embed_cache::Cache;
use embed_core::{EmbedResponse, Embedder, Error, ErrorKind, ModelInfo, Role, Truncation};
use embed_encoder::assets::DataHome;

#[cfg(feature = "parquet")]
use assembly::Assembly;
use checkpoint::{Checkpoint, Paths, RowShape};
use collection::{Collection, Survey};
use format::{CollectionFormat, is_table};
use job::MigrationJob;
use retry::RetryingEmbedder;
use row::{MigrationPlan, MigrationRow, RowResult};
use source::changed;
use tally::RowCounts;

use crate::commands::args::{parse_role, parse_truncation};
use crate::exit::Exit;
use crate::io::input::is_same_file;
use crate::io::output::print;
use crate::io::pipeline::in_batches;
use crate::io::row_progress::RowProgress;
use crate::io::rows::Batch;
use crate::settings::{self, Settings, flags};
use crate::signals::wait_for_signal;
use crate::stack::{self, cache};

/// Embed a collection again with another model.
///
/// The input is a file of JSON lines as `embed encode --with-text` writes them: each has `space` and `text`, perhaps
/// `role`, and any other fields. Rows of the old space get new vectors; rows that are already in the new space stay as
/// they are; other fields keep their values as written and their order. A line that can't be migrated stops the command
/// before it begins.
///
/// Files that end in .parquet, .arrow or .arrows are tables with columns of these names, in programs built with Parquet.
/// The output has `vector`, `space`, `variant`, `tokens` and `error`, and the input's other columns as they are.
///
/// OUTPUT appears when it is complete. Until then its rows are in OUTPUT.partial, and after a kill, a full disk or an
/// unavailable back end the same command continues where they end.
///
/// A text that the new model can't embed becomes a row with an error and without a vector, and the exit code is 1.
/// Such rows, and those alone, are tried again when OUTPUT is the input of another migration.
#[derive(Debug, Args)]
#[command(args = flags(&["service", "e5", "ollama", "router", "cache"]))]
pub(crate) struct MigrateArgs {
    /// The space of the rows to embed again, as their `space` says it.
    #[arg(long, value_name = "SPACE")]
    from_space: String,

    /// The space that the new vectors must have. The flags of the service choose it; this checks it.
    #[arg(long, value_name = "SPACE")]
    to: Option<String>,

    /// The file of JSON lines, or the table. It is read twice, so it can't be a pipe.
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,

    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// Also embed rows again that are already in the new space: for other weights or another precision.
    #[arg(long)]
    same_space: bool,

    /// The role of texts whose row has no `role`.
    #[arg(long, default_value = "document", value_parser = parse_role)]
    role: Role,

    /// What to do with a text longer than the new model reads: error, end, start, chunk-mean.
    #[arg(long, default_value = "error", value_parser = parse_truncation)]
    truncate: Truncation,

    /// Seconds to wait for an unavailable back end before the command stops.
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    patience: u64,

    /// Replace an existing output.
    #[arg(long)]
    force: bool,

    /// Start over instead of continuing with the rows of an earlier run.
    #[arg(long)]
    restart: bool,

    /// No progress on standard error and no summary on standard output.
    #[arg(short, long)]
    quiet: bool,
}

impl MigrateArgs {
    /// Checks flags that exclude or need each other.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if is_same_file(&self.input, &self.output) {
            return Err("--input and --output are the same file");
        }
        if is_table(&self.input) != is_table(&self.output) {
            return Err(
                "--input and --output are both JSON lines, or both tables: .parquet, .arrow, .arrows",
            );
        }
        Ok(())
    }

    /// How the rows relate to this model.
    fn plan(&self, model: &ModelInfo) -> Result<MigrationPlan, Error> {
        let (space, to) = (model.space().id(), self.to.as_deref());
        if to.is_some_and(|to| to != space) {
            return Err(Error::new(
                ErrorKind::Config,
                "the model doesn't embed into the space that --to names; choose another with --service and --model",
            )
            .with_context("its space", space)
            .with_context("--to", to.unwrap_or_default()));
        }
        if self.from_space == space && !self.same_space {
            return Err(Error::new(
                ErrorKind::Config,
                "the rows would stay in their space; choose another model with --service and --model, or pass \
                 --same-space to embed them again",
            )
            .with_context("space", space));
        }
        Ok(MigrationPlan {
            from: self.from_space.clone(),
            to: space.to_owned(),
            dimension: model.dimension(),
            role: self.role,
        })
    }

    fn end(&self, tally: RowCounts, how: &str) -> Result<Exit, Error> {
        let RowCounts { embedded, carried, failed } = tally;
        let again = if failed == 0 {
            String::new()
        } else {
            format!("; migrate {} to try the failed ones again", self.output.display())
        };
        if !self.quiet {
            print(&format!(
                "{} rows: {embedded} embedded, {carried} carried over, {failed} failed; {how}{again}\n",
                tally.rows()
            ))?;
        }
        Ok(if failed == 0 { Exit::Done } else { Exit::Failures })
    }
}

/// A migration that has read its input once.
struct Migration<'a> {
    args: &'a MigrateArgs,
    embedder: &'a dyn Embedder,
    cache: Option<&'a Cache>,
    plan: MigrationPlan,
    job: MigrationJob,
    to_embed: u64,
    output: OutputKind,
}

/// How the output is made of the rows.
enum OutputKind {
    /// It has them as they were written.
    JsonLines,
    #[cfg(feature = "parquet")]
    Table(Assembly),
}

pub(crate) async fn run(args: MigrateArgs, home: DataHome, settings: &Settings) -> Result<Exit, Error> {
    let paths = Paths::of(&args.output);
    paths.check()?;
    let format = CollectionFormat::of(&args.output)?;
    if !args.force && !paths.is_begun() {
        paths.check_absent()?;
    }
    let document = settings::document(settings, &home)?;
    if !document.has_one_route() {
        let what = match settings.is_preset() {
            true => "a migration ends in one space, and the hybrid service has two; choose one by --service"
                .to_owned(),
            false => format!(
                "a migration ends in one space, and the settings have several models; choose one by --model: {}",
                document.names().join(", ")
            ),
        };
        return Err(Error::new(ErrorKind::Config, what));
    }
    let cache = cache::open(settings).await?;
    let embedder = stack::load(settings, home, cache.as_ref()).await?;
    let migration = Migration::prepare(&args, format, &*embedder, cache.as_ref())?;
    if !args.restart
        && let Some(tally) = migration.finished(&paths)?
    {
        return args.end(tally, "it was whole already");
    }
    if !args.force {
        paths.check_absent()?;
    }
    migration.run(paths).await
}

impl<'a> Migration<'a> {
    fn prepare(
        args: &'a MigrateArgs,
        format: CollectionFormat,
        embedder: &'a dyn Embedder,
        cache: Option<&'a Cache>,
    ) -> Result<Self, Error> {
        let model = embedder.model();
        let plan = args.plan(model)?;
        let output = match format {
            CollectionFormat::JsonLines => OutputKind::JsonLines,
            #[cfg(feature = "parquet")]
            CollectionFormat::Table(format) => {
                OutputKind::Table(Assembly::plan(&args.input, format, plan.dimension)?)
            }
        };
        let survey = Survey::take(&args.input, &plan, args.quiet)?;
        let job = MigrationJob {
            input: survey.input,
            from: plan.from.clone(),
            variant: model.variant().id().to_owned(),
            role: args.role,
            truncation: args.truncate,
        };
        Ok(Self { args, embedder, cache, plan, job, to_embed: survey.to_embed, output })
    }

    /// The counts, if a process that finished this migration died before it had tidied up.
    fn finished(&self, paths: &Paths) -> Result<Option<RowCounts>, Error> {
        match self.output {
            OutputKind::JsonLines => paths.finished(&self.job, self.source()?, &self.shape()),
            #[cfg(feature = "parquet")]
            OutputKind::Table(_) => paths.finished_table(&self.job),
        }
    }

    fn source(&self) -> Result<Collection, Error> {
        Collection::open(&self.args.input, &self.plan)
    }

    fn shape(&self) -> RowShape<'_> {
        RowShape::of(&self.plan)
    }

    async fn run(&self, paths: Paths) -> Result<Exit, Error> {
        let mut checkpoint = Checkpoint::open(paths, &self.job, self.args.restart)?;
        let (source, kept) = checkpoint.keep(|| self.source(), &self.shape())?;
        let (seen, started, mut tally) = (source.seen(), Instant::now(), kept);
        let progress = RowProgress::of_rows(self.to_embed, kept.answered(), self.args.quiet);
        let each = |batch: &Batch<MigrationRow>, response: &EmbedResponse| {
            checkpoint.append(&lines(batch, response, &mut tally)?)?;
            let rate =
                (tally.answered() - kept.answered()) as f64 / started.elapsed().as_secs_f64().max(1e-3);
            progress.show(tally.answered(), format!("{rate:.0} rows/s"));
            Ok(())
        };
        let embedder = self.embedder(&progress);
        let answer = async |batch: &Batch<MigrationRow>| {
            let texts: Vec<_> = batch.rows.iter().filter_map(MigrationRow::text).collect();
            embedder.embed(&texts).await
        };
        let done = tokio::select! {
            done = in_batches(source, answer, each) => done,
            stopped = stop_signal() => Err(stopped),
        };
        progress.clear();
        cache::finish(self.cache).await;
        let rows = self.job.input.rows;
        done.map_err(|error| error.with_context("rows kept", format!("{} of {rows}", tally.rows())))?;
        if seen.get() != Some(&self.job.input) || tally.rows() != rows {
            return Err(changed(rows, tally.rows()));
        }
        match &self.output {
            OutputKind::JsonLines => checkpoint.finish()?,
            #[cfg(feature = "parquet")]
            OutputKind::Table(assembly) => checkpoint.finish_table(|answers, output| {
                assembly.write(&self.job, tally, answers, self.shape().limit, output)
            })?,
        }
        let earlier =
            if kept.rows() == 0 { String::new() } else { format!("{} of them earlier; ", kept.rows()) };
        let seconds = started.elapsed().as_secs_f64();
        self.args.end(tally, &format!("{earlier}{seconds:.2} s; space {}", self.plan.to))
    }

    fn embedder<'m>(&'m self, progress: &'m RowProgress) -> RetryingEmbedder<'m> {
        RetryingEmbedder {
            embedder: self.embedder,
            space: self.embedder.model().space(),
            truncation: self.args.truncate,
            patience: Duration::from_secs(self.args.patience),
            progress,
        }
    }
}

/// The lines of a batch.
fn lines(
    batch: &Batch<MigrationRow>,
    response: &EmbedResponse,
    tally: &mut RowCounts,
) -> Result<Vec<u8>, Error> {
    let (mut lines, mut answers) = (Vec::new(), response.rows());
    for row in &batch.rows {
        match row {
            MigrationRow::Carried(line) => {
                lines.extend_from_slice(line.as_bytes());
                lines.push(b'\n');
                tally.add(RowResult::Carried);
            }
            MigrationRow::Embedded(text) => {
                let answer =
                    answers.next().ok_or_else(|| Error::new(ErrorKind::Internal, "a row has no answer"))?;
                tally.add(if answer.is_ok() { RowResult::Embedded } else { RowResult::Failed });
                text.write(&answer.into(), &mut lines)?;
            }
        }
    }
    Ok(lines)
}

async fn stop_signal() -> Error {
    let stopped = match wait_for_signal().await {
        Ok(()) => Error::new(ErrorKind::Unavailable, "stopped by a signal; the same command goes on"),
        Err(error) => error,
    };
    stopped.temporary()
}
