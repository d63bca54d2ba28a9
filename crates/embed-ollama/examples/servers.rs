//! Ollama with several servers of one model: the least busy is asked, one that fails is left out, and all of them have to
//! give the same vectors.
//!
//! Run it: `cargo run -p embed-ollama --example servers -- http://127.0.0.1:11434 http://127.0.0.1:11435`. With
//! `IDENTITY=identity.json` it keeps who the servers are, and refuses servers with other vectors the next time.

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use embed_core::{EmbedRequest, Embedder, Error, ErrorKind, Result, Role, Truncation};
use embed_ollama::{Identity, OllamaConfig, OllamaEmbedder, Preset};

async fn run(servers: &[String], identity: Option<&Path>) -> Result<()> {
    let config = OllamaConfig::default()
        .with_model("all-minilm")
        .with_servers(servers)
        .with_preset(Preset::Production)
        .with_request_timeout(Duration::from_secs(20))
        // A server that loads its model is waited for: a client that hangs up would abort the load.
        .with_load_timeout(Duration::from_secs(300))
        .with_tries(3)
        .with_expected(identity.filter(|file| file.exists()).map(read).transpose()?);
    let ollama = OllamaEmbedder::connect(config).await?;
    if let (Some(file), Some(identity)) = (identity, ollama.identity()) {
        keep(file, &identity)?;
    }

    let texts: Vec<String> =
        (1..=200).map(|number| format!("text {number} about rivers and lakes")).collect();
    // No text is cut unless the request says so.
    let request = EmbedRequest::new(&texts, Role::Document).with_truncation(Truncation::End);
    let response = ollama.embed(request).await?;
    // A text that failed has its own error, and the others stand.
    let failed = response.errors().count();
    println!("{} of {} texts in {}", response.len() - failed, response.len(), ollama.model().space());

    for server in ollama.servers() {
        let state = if server.ejected { "left out" } else { "in use" };
        println!("{} {}: {state}", server.url, server.version.as_deref().unwrap_or("never answered"));
    }
    println!("{} requests, health: {}", ollama.stats().requests, ollama.health().await.status().as_str());
    Ok(())
}

fn read(file: &Path) -> Result<Identity> {
    let unreadable =
        || Error::new(ErrorKind::Config, "the identity can't be read; remove the file to begin anew");
    let text = std::fs::read_to_string(file).map_err(|error| unreadable().with_source(error))?;
    serde_json::from_str(&text).map_err(|error| unreadable().with_source(error))
}

fn keep(file: &Path, identity: &Identity) -> Result<()> {
    std::fs::write(file, serde_json::json!(identity).to_string())
        .map_err(|error| Error::new(ErrorKind::Config, "the identity can't be kept").with_source(error))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let servers: Vec<String> = std::env::args().skip(1).collect();
    if servers.is_empty() {
        return Err(Error::new(ErrorKind::Config, "name the servers, such as http://127.0.0.1:11434"));
    }
    run(&servers, std::env::var_os("IDENTITY").map(PathBuf::from).as_deref()).await
}

#[cfg(test)]
mod tests {
    use embed_testkit::ollama::OllamaDouble;

    #[tokio::test]
    async fn it_runs_with_two_servers_and_knows_them_again() {
        let (first, second) = (OllamaDouble::start("0.9.3").await, OllamaDouble::start("0.30.0").await);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("identity.json");
        let servers = [first.url(), second.url()];
        super::run(&servers, Some(&file)).await.unwrap();
        super::run(&servers, Some(&file)).await.unwrap();
        std::fs::write(&file, "{}").unwrap();
        super::run(&servers, Some(&file)).await.unwrap_err();
    }
}
