//! From nothing to vectors: `cargo run -p embed --example first`. The first run fetches the model and ONNX Runtime.

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use embed::EmbedderExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> embed::Result<()> {
    let model = embed::load("multilingual-e5-small").await?;
    let english = model.encode_query("how high is Mount Fuji").await?;
    let japanese = model.encode_document("富士山の高さは3776メートルです。").await?;
    println!("{:.4?} … of {} numbers", &english[..4], english.len());
    println!("{:.3} in {}", english.similarity(&japanese)?, english.space());
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() {
        let loaded = embed::Encoder::load_blocking(embed::EncoderConfig::default()).map(drop);
        if embed_testkit::require("multilingual-e5-small (int8)", loaded).is_some() {
            super::main().unwrap();
        }
    }
}
