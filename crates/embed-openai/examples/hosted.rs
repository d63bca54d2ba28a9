//! A hosted model, whose identity is kept from run to run.
//!
//! Run it: `OPENAI_API_KEY=… cargo run -p embed-openai --example hosted -- https://api.openai.com/v1 text-embedding-3-small`.

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::time::Duration;

use embed_core::{EmbedRequest, Embedder, Error, ErrorKind, Result, Role, Truncation};
use embed_openai::{OpenAiConfig, OpenAiEmbedder, Secret};

async fn run(server: &str, model: &str, key: Option<Secret>) -> Result<()> {
    let config = OpenAiConfig::new(model, server)
        .with_key(key)
        .with_deadline(Duration::from_secs(120))
        // Behind a provider's balancer every connection may end at another machine.
        .with_verify_reconnects(false);
    let openai = OpenAiEmbedder::connect(config).await?;

    let texts: Vec<String> =
        (1..=200).map(|number| format!("text {number} about rivers and lakes")).collect();
    let request = EmbedRequest::new(&texts, Role::Document).with_truncation(Truncation::End);
    let response = openai.embed(request).await?;
    // A text that failed has its own error, and the others stand.
    let failed = response.errors().count();
    println!("{} of {} texts in {}", response.len() - failed, response.len(), openai.model().space());
    let stats = openai.stats();
    println!(
        "{} requests, {} tokens, {} waited for the rate limit",
        stats.remote.requests, stats.tokens, stats.paced
    );
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(model)) = (arguments.next(), arguments.next()) else {
        return Err(Error::new(
            ErrorKind::Config,
            "name a server and a model, such as https://api.openai.com/v1 text-embedding-3-small",
        ));
    };
    run(&server, &model, std::env::var("OPENAI_API_KEY").ok().map(Secret::new)).await
}

#[cfg(test)]
mod tests {
    use embed_testkit::openai::OpenAiDouble;

    #[tokio::test]
    async fn it_runs_against_the_double() {
        let double = OpenAiDouble::start().await;
        super::run(&double.url(), "text-embedding-3-small", None).await.unwrap();
        super::run(&double.url(), "another", None).await.unwrap_err();
    }
}
