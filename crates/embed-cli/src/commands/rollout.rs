//! `embed rollout`: the state file of a rollout, which routers of other processes follow.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand};
use embed_core::{Error, ErrorKind};
use embed_router::{RolloutConfig, RolloutFile, RolloutState, rollout_place};

use crate::exit::Exit;
use crate::io::output::print;
use crate::settings::Settings;

/// The year 10000.
const END_OF_DATES: u64 = 253_402_300_800;

#[derive(Debug, Args)]
pub(crate) struct RolloutArgs {
    /// The state file of the rollout.
    #[arg(long, value_name = "FILE", global = true, default_value = "rollout.json")]
    file: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a rollout: write its state file, which `embed encode --rollout FILE` and other routers follow.
    ///
    /// With a candidate of another space, queries find nothing in a partition until its documents are embedded again:
    /// see `embed migrate`.
    Start {
        /// The route that texts leave: the name of a model, such as ollama, minilm or e5.
        #[arg(long, value_name = "ROUTE")]
        from: String,
        /// The route that texts go to.
        #[arg(long, value_name = "ROUTE")]
        to: String,
        /// How many of a hundred partitions move at first.
        #[arg(long, default_value_t = 0)]
        percentage: u8,
        /// Hashed together with the partition: another salt chooses other partitions first.
        #[arg(long, default_value = "")]
        salt: String,
    },
    /// Show what moves where, and whether it is stopped.
    Status {
        /// Print the file as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Move this many of a hundred partitions: 10, then 50, then 100. This also resumes a stopped rollout.
    Set {
        /// From 0 to 100. A partition that is moved at 10 is also moved at 50.
        percentage: u8,
    },
    /// Move nothing until a percentage is set.
    Stop {
        /// The reason, which the file records.
        #[arg(long, default_value = "stopped by hand")]
        reason: String,
    },
    /// Show whether a partition is moved, and from which percentage on.
    Check {
        /// The name of the partition: a tenant, a collection.
        partition: String,
    },
}

pub(crate) fn run(args: RolloutArgs, settings: &Settings) -> Result<Exit, Error> {
    let file = RolloutFile::new(args.file);
    let page = match args.command {
        Command::Start { from, to, percentage, salt } => {
            settings.check_route("--from", &from)?;
            settings.check_route("--to", &to)?;
            let config = RolloutConfig::new(from, to).with_percentage(percentage).with_salt(salt);
            show(&file.begin(&config)?)
        }
        Command::Status { json: true } => serde_json::json!(read(&file)?).to_string() + "\n",
        Command::Status { json: false } => show(&read(&file)?),
        Command::Set { percentage } => show(&file.update(|state| state.set_percentage(percentage))?),
        Command::Stop { reason } => show(&file.update(|state| {
            state.stop(reason);
            Ok(())
        })?),
        Command::Check { partition } => check(&read(&file)?, &partition),
    };
    print(&page)?;
    Ok(Exit::Done)
}

fn read(file: &RolloutFile) -> Result<RolloutState, Error> {
    file.read()?.ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            "there is no rollout; `embed rollout start` begins one, and --file names it",
        )
        .with_context("file", file.path().display())
    })
}

fn show(state: &RolloutState) -> String {
    let RolloutState { from, to, percentage, stopped, .. } = state;
    let stopped = match stopped {
        Some(stop) => format!("stopped: {} ({})\n", stop.reason, date(stop.at)),
        None => String::new(),
    };
    format!("{percentage} of 100 partitions move from {from} to {to}\n{stopped}")
}

/// Seconds after 1970 as a date of RFC 3339, if it can represent the year.
fn date(seconds: u64) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) {
        Some(time) if seconds < END_OF_DATES => humantime::format_rfc3339_seconds(time).to_string(),
        _ => format!("{seconds} s after 1970"),
    }
}

fn check(state: &RolloutState, partition: &str) -> String {
    let position = rollout_place(&state.salt, partition);
    let verdict = if position < state.share() { "in" } else { "not in" };
    format!("{verdict}; in from {} of 100 on\n", position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date() {
        assert_eq!(date(1_795_979_389), "2026-11-29T19:09:49Z");
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(u64::MAX), format!("{} s after 1970", u64::MAX));
    }
}
