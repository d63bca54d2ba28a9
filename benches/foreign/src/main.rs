//! Rivals that are written in Rust, each as a worker that `embed-rivals` drives.

mod batches;
mod detect;
mod fastembed;
mod ollama;
mod redis;
mod rten;

use std::path::PathBuf;

use anyhow::{Result, bail};
use embed_rivals_worker::serve;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fastembed", model, tokenizer] => {
            serve(|| fastembed::Default::load(&PathBuf::from(model), &PathBuf::from(tokenizer)))
        }
        ["fastembed-best", model, tokenizer] => {
            serve(|| fastembed::Best::load(&PathBuf::from(model), &PathBuf::from(tokenizer)))
        }
        ["fastembed-first", model, tokenizer, text] => {
            fastembed::first_vector(&PathBuf::from(model), &PathBuf::from(tokenizer), text)
        }
        ["rten", model, tokenizer] => {
            serve(|| rten::Rten::load(&PathBuf::from(model), &PathBuf::from(tokenizer)))
        }
        ["ollama-rs", url] => serve(|| ollama::OllamaRs::connect(url)),
        ["redis", url, rounds, calls] => redis::run(url, rounds.parse()?, calls.parse()?),
        ["detect", texts, rounds] => detect::run(&PathBuf::from(texts), rounds.parse()?),
        _ => bail!("no such worker: {arguments:?}"),
    }
}
