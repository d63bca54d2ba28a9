//! `embed ollama`: the models of an Ollama server.

mod report;

use clap::{Args, Subcommand};
use embed_assets::Progress;
use embed_core::Error;
use embed_ollama::{OllamaModels, PullProgress};

use crate::exit::Exit;
use crate::io::download_progress::DownloadProgress;
use crate::io::output::print;
use crate::settings::{Settings, flags};

pub(crate) use report::{ServerCheck, report};

#[derive(Debug, Args)]
#[command(args = flags(&["ollama.url", "ollama.pool_size"]))]
pub(crate) struct OllamaArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The models that the server has.
    List,
    /// Make the server fetch a model.
    Pull {
        /// The name, as at ollama.com/library: all-minilm.
        model: String,
        /// No progress on standard error.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Describe a model.
    Show {
        /// The name.
        model: String,
    },
}

pub(crate) async fn run(args: OllamaArgs, settings: &Settings) -> Result<Exit, Error> {
    let models = OllamaModels::new(settings.ollama.clone())?;
    match args.command {
        Command::List => print(&report::list(&models.list().await?))?,
        Command::Show { model } => print(&report::show(&model, &models.show(&model).await?))?,
        Command::Pull { model, quiet } => pull(&models, &model, &DownloadProgress::new(quiet)).await?,
    }
    Ok(Exit::Done)
}

async fn pull(models: &OllamaModels, model: &str, progress: &DownloadProgress) -> Result<(), Error> {
    let mut pull = models.pull(model).await?;
    let (mut status, mut file) = (String::new(), None::<String>);
    while let Some(step) = pull.next().await {
        let PullProgress { status: now, digest, total, completed, .. } = step?;
        if let Some(done) = file.take_if(|file| digest.as_ref() != Some(file)) {
            progress.finished(&done);
        }
        match digest {
            Some(digest) => {
                progress.bytes(&digest, completed.unwrap_or(0), total);
                file = Some(digest);
            }
            None if now != status => progress.message(&now),
            None => {}
        }
        status = now;
    }
    print(&format!("{model} is at {}\n", models.url()))
}
