//! `embed bench`: measures how fast a stack or a gateway is.

mod load;
mod report;
mod texts;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{RangedU64ValueParser, TypedValueParser};
use embed_core::{Error, Role};
use embed_encoder::assets::DataHome;

use self::load::BenchLoad;
use self::texts::BenchTexts;
use crate::commands::args::parse_role;
use crate::exit::Exit;
use crate::io::output::print;
use crate::settings::{CachePlace, ServiceChoice, Settings, flags};
use crate::stack::cache;
use crate::stack::{self, max_text_bytes};

/// Measure how fast a service answers.
///
/// Callers send one request after the other for a while; latency, throughput, failures and the
/// share of cached vectors are counted. Each caller waits for its answer before its next request, so
/// a slow service gets fewer requests: raise --concurrency until the throughput no longer grows.
/// Texts repeat as words of a language do (Zipf's law), so that a cache has something to find;
/// `--cache off` measures without it.
///
///   embed bench --service e5 --concurrency 16 --duration 30
///   embed bench --service ollama --pool production --batch 32
///   embed bench --url http://127.0.0.1:8080 --remote-model multilingual-e5-small
#[derive(Debug, Args)]
#[command(
    verbatim_doc_comment,
    args = flags(&["service", "e5", "ollama", "router", "cache"]),
    mut_arg("ollama.pool_size", |pool| pool.visible_alias("pool")),
)]
pub(crate) struct BenchArgs {
    /// Callers at the same time.
    #[arg(short, long, default_value = "8", value_name = "N", value_parser = at_least_one())]
    concurrency: NonZeroUsize,

    /// How long to measure, in seconds.
    #[arg(short, long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    duration: Duration,

    /// Seconds to run before measuring, while models are loaded and caches filled.
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    warm_up: Duration,

    /// Texts in a request.
    #[arg(short, long, default_value = "1", value_name = "N", value_parser = at_least_one())]
    batch: NonZeroUsize,

    /// A running gateway (or Ollama server) to measure instead of embedding in this process.
    #[arg(long, value_name = "URL", conflicts_with = "service")]
    url: Option<String>,

    /// The model to request there.
    #[arg(long, value_name = "NAME", requires = "url", default_value = "multilingual-e5-small")]
    remote_model: String,

    /// Lines to take texts from; sentences in English and Japanese, if nothing is given.
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// How many different texts there are. If there are fewer lines, numbers are appended to them.
    #[arg(long, default_value = "10000", value_name = "N", value_parser = at_least_one())]
    distinct: NonZeroUsize,

    /// How unevenly texts are used: with 0 all are used equally often, 1 is usual for queries.
    #[arg(long, default_value = "1", value_name = "EXPONENT", value_parser = exponent)]
    zipf: f64,

    /// What the texts are for.
    #[arg(long, default_value = "query", value_parser = parse_role)]
    role: Role,

    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,

    /// No live view on standard error.
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) async fn run(args: BenchArgs, home: DataHome, mut settings: Settings) -> Result<Exit, Error> {
    if let Some(url) = &args.url {
        settings.use_service(ServiceChoice::Ollama);
        settings.ollama.servers = vec![url.clone()];
        settings.ollama.model = args.remote_model;
        // The gateway and its cache are measured, not a cache in front of it.
        settings.cache.place = CachePlace::Off;
    }
    let texts = BenchTexts::new(args.input.as_deref(), args.distinct, args.zipf, max_text_bytes())?;
    let cache = cache::open(&settings).await?;
    let embedder = stack::load(&settings, home, cache.as_ref()).await?;
    let load = BenchLoad {
        embedder: embedder.into(),
        texts,
        callers: args.concurrency.get(),
        batch: args.batch.get(),
        options: args.role.into(),
        warm_up: args.warm_up,
        duration: args.duration,
        quiet: args.quiet,
    };
    let measured = load.run().await;
    cache::finish(cache.as_ref()).await;
    let measured = measured?;
    let service = if args.url.is_some() { report::REMOTE.to_owned() } else { settings.service_name() };
    let report = report::BenchReport::new(&service, &load, &measured, cache.is_some());
    print(&if args.json { report.json() } else { report.table() })?;
    Ok(if measured.is_whole() { Exit::Done } else { Exit::Failures })
}

fn at_least_one() -> impl TypedValueParser<Value = NonZeroUsize> {
    RangedU64ValueParser::<u32>::new()
        .range(1..=10_000_000)
        .map(|count| NonZeroUsize::new(count as usize).unwrap_or(NonZeroUsize::MIN))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.trim_end_matches('s').parse().map_err(|_| "give seconds, such as 10 or 0.5")?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "give seconds, such as 10 or 0.5".to_owned())
}

fn exponent(text: &str) -> Result<f64, String> {
    let exponent = text.parse().ok().filter(|exponent| (0.0..=10.0).contains(exponent));
    exponent.ok_or_else(|| "give a number from 0 to 10".to_owned())
}
