//! The command `embed`: turns text into vectors, compares texts, looks after the models.

mod cache;
mod commands;
mod exit;
mod input;
mod meter;
mod output;
mod pipeline;
mod progress;
mod service;
mod variables;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use embed_core::Error;
use embed_e5::assets::DataHome;

use crate::exit::Exit;

/// Text in any language to vectors, on this machine.
///
/// A first look:
///
///   embed models pull                          fetch the model and the runtime, once
///   embed encode --format table 富士山 "Mount Fuji"
///   embed encode --input texts.txt --output vectors.jsonl
///   embed compare "database query" "データベースのクエリ" "cooking"
///   embed doctor                               what is missing, and what mends it
#[derive(Debug, Parser)]
#[command(name = "embed", version, verbatim_doc_comment, after_help = exit::HELP)]
struct Cli {
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
    Doctor(commands::doctor::DoctorArgs),
    /// List, fetch, check and carry around the model files and the runtime library.
    Models(commands::models::ModelsArgs),
    /// The vectors that Redis keeps: count them, take them out, fill it.
    Cache(commands::cache::CacheCommandArgs),
    /// The models of an Ollama server: list, fetch, describe.
    Ollama(commands::ollama::OllamaArgs),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let command = Cli::parse().command;
    let checked = match &command {
        Command::Encode(args) => args.check(),
        Command::Route(args) => args.check(),
        Command::Migrate(args) => args.check(),
        _ => Ok(()),
    };
    if let Err(conflict) = checked {
        Cli::command().error(clap::error::ErrorKind::ArgumentConflict, conflict).exit();
    }
    exit::report(run(command).await)
}

async fn run(command: Command) -> Result<Exit, Error> {
    let home = DataHome::from_env()?;
    match command {
        Command::Encode(args) => commands::encode::run(args, home).await,
        Command::Compare(args) => commands::compare::run(args, home).await,
        Command::Route(args) => commands::route::run(args).await,
        Command::Rollout(args) => commands::rollout::run(args),
        Command::Migrate(args) => commands::migrate::run(args, home).await,
        Command::Doctor(args) => commands::doctor::run(args, home).await,
        Command::Models(args) => commands::models::run(args, home).await,
        Command::Cache(args) => commands::cache::run(args, home).await,
        Command::Ollama(args) => commands::ollama::run(args).await,
    }
}
