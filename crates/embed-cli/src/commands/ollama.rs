//! `embed ollama`: the models of an Ollama server; and the flags and variables that say which server.

mod report;

use clap::{Args, Subcommand};
use embed_assets::Progress;
use embed_core::Error;
use embed_ollama::{OllamaConfig, OllamaModels, Preset, PullProgress, ollama_host};

use crate::exit::Exit;
use crate::output::print;
use crate::progress::Bars;
use crate::variables::{seconds, variable};

pub(crate) use report::{Report, report};

/// Which server, wherever Ollama is meant.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The address of an Ollama server, with or without /api; several servers of the same model separated
    /// by commas. Without it TMWS_OLLAMA_API_BASE, then OLLAMA_HOST, then http://127.0.0.1:11434.
    #[arg(long, value_name = "URL", value_delimiter = ',', global = true)]
    ollama_url: Vec<String>,

    /// Requests in flight at one Ollama server: a number, or development, staging, production or
    /// high_traffic. Without it TMWS_OLLAMA_POOL_SIZE, then 10.
    #[arg(long, value_name = "N", global = true)]
    ollama_pool: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct OllamaArgs {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The models that the server has.
    List,
    /// Let the server fetch a model.
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

pub(crate) async fn run(args: OllamaArgs) -> Result<Exit, Error> {
    let models = OllamaModels::new(args.server.config(None)?)?;
    match args.command {
        Command::List => print(&report::list(&models.list().await?))?,
        Command::Show { model } => print(&report::show(&model, &models.show(&model).await?))?,
        Command::Pull { model, quiet } => pull(&models, &model, &Bars::new(quiet)).await?,
    }
    Ok(Exit::Done)
}

async fn pull(models: &OllamaModels, model: &str, bars: &Bars) -> Result<(), Error> {
    let mut pull = models.pull(model).await?;
    let (mut status, mut file) = (String::new(), None::<String>);
    while let Some(step) = pull.next().await {
        let PullProgress { status: now, digest, total, completed, .. } = step?;
        if let Some(done) = file.take_if(|file| digest.as_ref() != Some(file)) {
            bars.finished(&done);
        }
        match digest {
            Some(digest) => {
                bars.bytes(&digest, completed.unwrap_or(0), total);
                file = Some(digest);
            }
            None if now != status => bars.message(&now),
            None => {}
        }
        status = now;
    }
    print(&format!("{model} is at {}\n", models.url()))
}

impl ServerArgs {
    /// The settings, of flags first and of the environment second.
    pub(crate) fn config(&self, model: Option<&str>) -> Result<OllamaConfig, Error> {
        let mut config = OllamaConfig::default();
        if let Some(model) =
            model.map(str::to_owned).map_or_else(|| variable("TMWS_OLLAMA_MODEL"), |m| Ok(Some(m)))?
        {
            config.model = model;
        }
        let servers =
            if self.ollama_url.is_empty() { configured_servers()? } else { self.ollama_url.clone() };
        if !servers.is_empty() {
            config.servers = servers;
        }
        let pool = self
            .ollama_pool
            .clone()
            .map_or_else(|| variable("TMWS_OLLAMA_POOL_SIZE"), |pool| Ok(Some(pool)))?;
        if let Some(pool) = pool {
            config.pool_size = match pool.parse() {
                Ok(pool) => pool,
                Err(_) => Preset::by_name(&pool)?.pool_size(),
            };
        }
        if let Some(timeout) = seconds("TMWS_OLLAMA_TIMEOUT")? {
            config.request_timeout = timeout;
            config.load_timeout = config.load_timeout.max(config.request_timeout);
        }
        Ok(config)
    }
}

/// Whether the environment names a server: then its absence is a fault.
pub(crate) fn is_configured() -> bool {
    configured_servers().is_ok_and(|servers| !servers.is_empty())
}

fn configured_servers() -> Result<Vec<String>, Error> {
    if let Some(base) = variable("TMWS_OLLAMA_API_BASE")? {
        return Ok(base.split(',').map(|server| server.trim().to_owned()).collect());
    }
    match variable("OLLAMA_HOST")? {
        Some(host) => Ok(vec![ollama_host(&host)?]),
        None => Ok(Vec::new()),
    }
}
