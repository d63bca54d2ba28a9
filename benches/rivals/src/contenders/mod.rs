//! The contenders of this program: ours, and runtimes used by hand.

mod ollama;
mod ort;
mod ours;

use std::path::Path;

use anyhow::{Result, bail};
use embed_rivals_worker::serve;

pub(crate) use self::ollama::server_version;

/// Runs as a worker until the driver closes the pipe.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["e5", precision] => serve(|| ours::E5::load(precision)),
        ["ort-alone", model, tokenizer] => {
            serve(|| ort::Bare::load(Path::new(model), Path::new(tokenizer), ort::Layout::Alone))
        }
        ["ort-padded", model, tokenizer] => {
            serve(|| ort::Bare::load(Path::new(model), Path::new(tokenizer), ort::Layout::Padded))
        }
        ["ollama", ref urls @ ..] => serve(|| ours::Ollama::connect(urls)),
        ["ollama-direct", kind, url] => serve(|| ollama::Direct::connect(kind, url)),
        _ => bail!("there is no such worker"),
    }
}
