//! `embed-first TEXT…`: fetches the runtime library and the default model, as `embed models pull` does, and embeds the
//! texts. It needs half of the crates that `embed` needs, so `cargo xtask quickstart` shows vectors with it while the
//! rest still compiles.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks on both")]

use std::process::ExitCode;

use embed_assets::{Progress, PullOptions, pull_model, pull_runtime};
use embed_core::{EmbedRequest, Embedder, Error, ErrorKind, Role};
use embed_encoder::assets::DataHome;
use embed_encoder::{Encoder, EncoderConfig, Precision, Profile};

/// Prints each message as a line.
#[derive(Debug)]
struct PrintedProgress;

impl Progress for PrintedProgress {
    fn message(&self, text: &str) {
        println!("fetch: {text}");
    }

    fn bytes(&self, _: &str, _: u64, _: Option<u64>) {}

    fn finished(&self, _: &str) {}
}

fn main() -> ExitCode {
    let texts: Vec<String> = std::env::args().skip(1).collect();
    match run(&texts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fetch: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(texts: &[String]) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Error::new(ErrorKind::Internal, "the asynchronous runtime doesn't start").with_source(error)
    })?;
    let (home, options) = (DataHome::from_env()?, PullOptions::from_env()?);
    runtime.block_on(async {
        pull_runtime(&home, &options, &PrintedProgress).await?;
        let pulled =
            pull_model(&home, &Profile::all()[0], Precision::Int8, &options, &PrintedProgress).await?;
        println!("fetch: {} is in place", pulled.manifest().name);
        if texts.is_empty() {
            return Ok(());
        }
        let e5 = Encoder::load(EncoderConfig::default()).await?;
        let request = EmbedRequest::new(texts.iter().map(String::as_str), Role::Document);
        let response = e5.embed(request).await?;
        println!("first vectors:");
        for (text, row) in texts.iter().zip(response.rows()) {
            let row = row.map_err(Clone::clone)?;
            let numbers: Vec<String> =
                row.vector().iter().take(4).map(|number| format!("{number:+.4}")).collect();
            println!("  {} …  {text}", numbers.join(" "));
        }
        Ok(())
    })
}
