//! The command `embed`: turns text into vectors, compares texts, looks after the models.

mod commands;
mod exit;
#[cfg(test)]
mod fuzz;
mod io;
mod keys;
#[cfg(test)]
mod messages;
mod settings;
mod signals;
mod stack;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use embed_core::{Error, ErrorKind};
use embed_encoder::assets::DataHome;
use tokio::runtime::Builder;

use crate::exit::Exit;

/// How many socket events one thread takes before it works on them. If the system stops that thread meanwhile, all of
/// them wait for some milliseconds, so a small number keeps the slowest answers near the others. For cached answers over 64
/// connections, p99 was six to seven times p50 with tokio's default of 1024, and twice p50 with 8, at the same rate.
const EVENTS_AT_ONCE: usize = 8;

/// Text in any language to vectors, on this machine.
///
/// A first look:
///
///   embed models pull                          fetch the model and the runtime, once
///   embed encode --format table 富士山 "Mount Fuji"
///   embed encode --input texts.txt --output vectors.jsonl
///   embed compare "database query" "データベースのクエリ" "cooking"
///   embed doctor                               what is missing, and how to fix it
#[derive(Debug, Parser)]
#[command(name = "embed", version, long_version = VERSION.as_str(), verbatim_doc_comment, after_help = exit::HELP)]
struct Cli {
    /// The file of settings. Without it, the file that TMWS_CONFIG names, else embed/embed.toml in the platform's
    /// folder for configuration, if it exists.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Encode(commands::encode::EncodeArgs),
    Compare(commands::compare::CompareArgs),
    Route(commands::route::RouteArgs),
    /// Move partitions from one route to another, step by step.
    Rollout(commands::rollout::RolloutArgs),
    Migrate(commands::migrate::MigrateArgs),
    Serve(commands::serve::ServeArgs),
    Bench(commands::bench::BenchArgs),
    Doctor(commands::doctor::DoctorArgs),
    Certify(commands::certify::CertifyArgs),
    /// List, fetch, check, export and import the model files and the runtime library.
    Models(commands::models::ModelsArgs),
    /// The vectors that Redis keeps: count them, remove them, add to them.
    Cache(commands::cache::CacheCommandArgs),
    /// The models of an Ollama server: list, fetch, describe.
    Ollama(commands::ollama::OllamaArgs),
    /// The settings: their values and where they come from, what is wrong, what can be set.
    ///
    /// Flags win over variables, and variables over the file. Variables for settings begin with TMWS_. EMBED_HOME isn't a
    /// setting: it names the folder of the models and the runtime library.
    Config(commands::config::ConfigArgs),
    Completions(commands::generate::CompletionsArgs),
    #[command(hide = true)]
    Man(commands::generate::ManArgs),
}

/// The version, what it was built from if that is known, and the features that it was built with.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let revision = option_env!("EMBED_REVISION").filter(|revision| !revision.is_empty());
    let features = [
        ("otlp", cfg!(feature = "otlp")),
        ("parquet", cfg!(feature = "parquet")),
        ("openvino", cfg!(feature = "openvino")),
        ("no Redis", !cfg!(feature = "redis")),
    ];
    let features: Vec<_> = features.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    let features = if features.is_empty() { "none".to_owned() } else { features.join(", ") };
    let revision = revision.unwrap_or("not recorded");
    format!("{}\nrevision {revision}\nfeatures {features}", env!("CARGO_PKG_VERSION"))
});

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let checked = match &cli.command {
        Command::Encode(args) => args.check(),
        Command::Route(args) => args.check(),
        Command::Migrate(args) => args.check(),
        _ => Ok(()),
    };
    if let Err(conflict) = checked {
        let mut program = Cli::command();
        // Built, so that it has its names and the error shows the usage of the command.
        program.build();
        let command = matches.subcommand_name().and_then(|name| program.find_subcommand(name)).cloned();
        command.unwrap_or(program).error(clap::error::ErrorKind::ArgumentConflict, conflict).exit();
    }
    let mut runtime = match &cli.command {
        Command::Serve(_) | Command::Bench(_) => Builder::new_multi_thread(),
        // One thread is enough to wait; the engine has separate threads.
        _ => Builder::new_current_thread(),
    };
    let runtime = runtime.max_io_events_per_tick(EVENTS_AT_ONCE).enable_all().build().map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            "the runtime can't be started: the system gives no threads or no events",
        )
        .with_source(error)
    });
    exit::report(runtime.and_then(|runtime| runtime.block_on(run(cli, matches))))
}

async fn run(cli: Cli, matches: ArgMatches) -> Result<Exit, Error> {
    let settings = settings::read(cli.config.as_deref(), &matches);
    let home = DataHome::from_env();
    match cli.command {
        Command::Config(args) => commands::config::run(&args, settings, home),
        Command::Encode(args) => commands::encode::run(args, home?, &settings?).await,
        Command::Compare(args) => commands::compare::run(args, home?, &settings?).await,
        Command::Route(args) => commands::route::run(args, &home?, &settings?).await,
        Command::Rollout(args) => commands::rollout::run(args, &settings?),
        Command::Models(args) => commands::models::run(args, home?, &settings?).await,
        Command::Migrate(args) => commands::migrate::run(args, home?, &settings?).await,
        Command::Serve(args) => {
            let mut settings = settings?;
            settings.gateway.listen = args.address(settings.gateway.listen)?;
            let again = move || Ok(settings::read(cli.config.as_deref(), &matches)?);
            commands::serve::run(args, home?, &settings, again).await
        }
        Command::Bench(args) => commands::bench::run(args, home?, settings?).await,
        Command::Certify(args) => commands::certify::run(args, home?, &settings?).await,
        Command::Doctor(args) => commands::doctor::run(args, home?, &settings?).await,
        Command::Cache(args) => commands::cache::run(args, home?, &settings?).await,
        Command::Ollama(args) => commands::ollama::run(args, &settings?).await,
        Command::Completions(args) => commands::generate::completions(&args, Cli::command()),
        Command::Man(args) => commands::generate::man(&args, Cli::command()),
    }
}
