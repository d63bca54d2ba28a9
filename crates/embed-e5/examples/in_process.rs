//! Embed in the process: multilingual-E5 on ONNX Runtime, without a server and without Python.
//!
//! The model and the runtime library come from `embed models pull` (or `cargo xtask quickstart`), below `EMBED_HOME` if that is
//! set. Run it: `cargo run --release -p embed-e5 --example in_process -- "how high is Mount Fuji"`.

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use embed_core::{EmbedRequest, Embedder, EmbedderExt, Result, Role, Truncation};
use embed_e5::{E5Config, E5Embedder, Precision};

const DOCUMENTS: [&str; 4] = [
    "Mount Fuji is 3776 m high.",
    "富士山の高さは3776メートルです。",
    "Der Bodensee ist 251 m tief.",
    "Preheat the oven to 180 degrees.",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let query = std::env::args().nth(1).unwrap_or_else(|| "how high is Mount Fuji".to_owned());
    // A thread for each processor. Loading takes a moment: keep the embedder, and share it as an `Arc`.
    let e5 = E5Embedder::load(E5Config::default().with_precision(Precision::Int8)).await?;

    // The role puts E5's prefix before a text. A text that is too long is an error, unless the request says what to do.
    let request = EmbedRequest::new(DOCUMENTS, Role::Document).with_truncation(Truncation::End);
    let documents = e5.embed(request).await?;
    let query = e5.encode_query(&query).await?;

    let mut found = Vec::new();
    for (text, row) in DOCUMENTS.iter().zip(&documents) {
        match row {
            Ok(row) => found.push((query.similarity(row)?, text)),
            // A text that failed has its own error, and the others stand.
            Err(error) => println!("no vector: {error}"),
        }
    }
    found.sort_by(|left, right| right.0.total_cmp(&left.0));
    for (score, text) in found {
        println!("{score:.3}  {text}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs() {
        let loaded = E5Embedder::load_blocking(E5Config::default()).map(drop);
        if embed_testkit::require("multilingual-e5-small (int8)", loaded).is_some() {
            main().unwrap();
        }
    }
}
