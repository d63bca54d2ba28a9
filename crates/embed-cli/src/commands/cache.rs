//! `embed cache`: counts the vectors in Redis, removes them, adds to them.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use embed_cache::{Cache, Cached, Census, Namespace, RedisTier, Tier, TierStats};
use embed_core::{EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Role, Truncation};
use embed_encoder::assets::DataHome;
use serde::Serialize;

use crate::commands::args::{parse_role, parse_truncation};
use crate::exit::Exit;
use crate::io::format::InputFormat;
use crate::io::input::{Input, ReadOptions};
use crate::io::output::print;
use crate::io::pipeline::{AnswersByRole, call_rows};
use crate::io::row_progress::RowProgress;
use crate::io::rows::{Batch, InputRow};
use crate::settings::{Settings, flags};
use crate::stack::cache::{finish, redis_tier};
use crate::stack::{self, max_text_bytes};

#[derive(Debug, Args)]
#[command(args = flags(&["cache.redis_url"]))]
pub(crate) struct CacheCommandArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Count the vectors in Redis, by the variant of the model that made them.
    Stats {
        /// One JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Remove vectors from Redis, and say how many.
    ///
    /// Nothing else in the database is changed. Running servers keep the vectors in their memory until their time to
    /// live is over or the server is restarted.
    #[command(group = clap::ArgGroup::new("what").required(true))]
    Clear {
        /// Only those of one variant, named as in `embed cache stats`.
        #[arg(long, group = "what")]
        variant: Option<String>,
        /// All that this software has stored there under its prefix, for every variant.
        #[arg(long, group = "what")]
        all: bool,
        /// Say how many there are, and remove none.
        #[arg(long)]
        dry_run: bool,
    },
    /// Embed texts so that Redis has their vectors.
    Warm(WarmArgs),
}

#[derive(Debug, Args)]
#[command(args = flags(&["service", "e5", "ollama", "router"]))]
struct WarmArgs {
    /// Read texts from a file, or from standard input with `-`.
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,

    /// What a line of the input is; by default the file's name decides.
    #[arg(long, value_enum)]
    input_format: Option<InputFormat>,

    /// What the texts are for.
    #[arg(long, default_value = "document", value_parser = parse_role)]
    role: Role,

    /// What to do with a text longer than the model reads.
    #[arg(long, default_value = "error", value_parser = parse_truncation)]
    truncate: Truncation,

    /// No progress and no summary on standard error.
    #[arg(short, long)]
    quiet: bool,
}

/// What `embed cache stats` finds.
#[derive(Serialize)]
struct CacheReport {
    redis: String,
    #[serde(flatten)]
    census: Census,
    database: TierStats,
}

pub(crate) async fn run(args: CacheCommandArgs, home: DataHome, settings: &Settings) -> Result<Exit, Error> {
    match args.command {
        Command::Stats { json } => stats(settings, json).await,
        Command::Clear { variant, dry_run, .. } => clear(settings, variant, dry_run).await,
        Command::Warm(args) => warm(args, home, settings).await,
    }
}

async fn stats(settings: &Settings, json: bool) -> Result<Exit, Error> {
    let (tier, url) = redis_tier(settings).await?;
    let found =
        CacheReport { redis: url.to_string(), census: tier.census().await?, database: tier.stats().await? };
    let page = if json { format!("{}\n", serde_json::json!(found)) } else { table(&found) };
    print(&page)?;
    Ok(Exit::Done)
}

fn table(CacheReport { redis, census, database }: &CacheReport) -> String {
    let number = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
    let mut page = format!(
        "{redis}: {} keys and {} bytes in the whole database, limit {}\n\n  vectors  variant\n",
        number(database.entries),
        number(database.bytes),
        database.limit.map_or("none".to_owned(), |limit| format!("{limit} bytes")),
    );
    for (variant, count) in &census.variants {
        let _ = writeln!(page, "{count:>9}  {variant}");
    }
    if census.unknown > 0 {
        let _ = writeln!(page, "{:>9}  (of another version of this software)", census.unknown);
    }
    page
}

async fn clear(settings: &Settings, variant: Option<String>, dry_run: bool) -> Result<Exit, Error> {
    let (tier, url) = redis_tier(settings).await?;
    let before: u64 = count(&tier, variant.as_deref()).await?;
    if before == 0
        && let Some(variant) = &variant
    {
        return Err(Error::new(
            ErrorKind::Config,
            "Redis has no vectors of this variant; `embed cache stats` names those it has",
        )
        .with_context("variant", variant));
    }
    if dry_run {
        print(&format!("{before} vectors would be taken out of {url}\n"))?;
        return Ok(Exit::Done);
    }
    tier.clear(variant.map(Namespace::named).as_ref()).await?;
    print(&format!("{before} vectors taken out of {url}; servers that run keep those in their memory\n"))?;
    Ok(Exit::Done)
}

async fn count(tier: &RedisTier, variant: Option<&str>) -> Result<u64, Error> {
    let census = tier.census().await?;
    Ok(match variant {
        Some(variant) => census.variants.get(variant).copied().unwrap_or(0),
        None => census.variants.values().sum::<u64>() + census.unknown,
    })
}

async fn warm(args: WarmArgs, home: DataHome, settings: &Settings) -> Result<Exit, Error> {
    let input = Input::from_flag(&args.input, args.input_format);
    let progress = RowProgress::new(input.bytes(), args.quiet, true);
    let rows = input.open(ReadOptions { max_text_bytes: max_text_bytes(), role: args.role })?;
    let (tier, url) = redis_tier(settings).await?;
    // A Redis that stores nothing is noticed before a model is loaded.
    tier.check().await?;
    let cache = Cache::new(settings.cache.config, vec![Arc::new(tier)])?;
    let embedder = Cached::new(stack::load(settings, home, None).await?, cache.clone());
    let (mut count, mut failed, mut tokens) = (0, 0, Some(0));
    let each = |batch: &Batch<InputRow>, answers: &AnswersByRole<EmbedResponse>| {
        let answers = [Role::Query, Role::Document].into_iter().filter_map(|role| answers.of(role));
        let good: Vec<_> = answers.flat_map(|response| response.rows().flatten()).collect();
        count += batch.rows.len() as u64;
        failed += (batch.rows.len() - good.len()) as u64;
        for row in good {
            // One unknown number makes the sum unknown.
            tokens = tokens.zip(row.info().tokens).map(|(sum, tokens)| sum + tokens.used as u64);
        }
        progress.advance(count, tokens, batch.bytes);
        Ok(())
    };
    let embed = async |texts, role| {
        let request = EmbedRequest::new::<Arc<str>>(texts, role).with_truncation(args.truncate);
        embedder.embed(request).await
    };
    let warmed = call_rows(rows, embed, each).await;
    finish(Some(&cache)).await;
    warmed?;
    let tiers = cache.stats().await.tiers;
    let (hits, stored): (u64, u64) =
        tiers.iter().fold((0, 0), |(hits, stored), tier| (hits + tier.hits, stored + tier.stored));
    let lost: u64 = tiers.iter().flat_map(|tier| tier.unstored.values()).sum();
    let why = tiers.iter().find_map(|tier| tier.write_fault.as_ref().or(tier.read_fault.as_ref()));
    let why = why.filter(|_| lost > 0).map_or(String::new(), |why| format!(": {why}"));
    let summary = format!(
        "{count} texts, {failed} failed: {hits} vectors were in {url}, {stored} were stored, {lost} were not{why}\n"
    );
    progress.finish("");
    print(&summary)?;
    Ok(if failed + lost == 0 { Exit::Done } else { Exit::Failures })
}
