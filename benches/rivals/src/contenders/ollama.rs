//! Ollama by hand: what a few lines with `reqwest` do.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use embed_rivals_worker::{Contender, Role};
use futures::future::try_join_all;
use reqwest::Client;
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

/// The model that the servers of the rig have.
pub(super) const MODEL: &str = "all-minilm";

/// How texts become requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One text a request, one request after the other.
    Sequential,
    /// One text a request, all requests at once.
    Unlimited,
    /// As sequential, but the answer isn't even parsed: what the server gives at most, since before 0.5.8 one
    /// request in flight is both the fastest and the only safe way.
    Limit,
}

pub(super) struct Direct {
    runtime: Runtime,
    client: Client,
    url: String,
    kind: Kind,
}

impl Direct {
    pub(super) fn connect(kind: &str, url: &str) -> Result<Self> {
        let kind = match kind {
            "sequential" => Kind::Sequential,
            "unlimited" => Kind::Unlimited,
            "limit" => Kind::Limit,
            other => bail!("there is no client called {other}"),
        };
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { runtime, client: client()?, url: format!("{}/api/embed", url.trim_end_matches('/')), kind })
    }

    async fn request(&self, text: &str) -> Result<Vec<f32>> {
        #[derive(Deserialize)]
        struct Body {
            embeddings: Vec<Vec<f32>>,
        }
        let mut body = json!({ "model": MODEL, "input": [text], "options": { "num_ctx": 512 } });
        if self.kind == Kind::Limit {
            // Or the server tokenises each text once more, to see whether it is too long.
            body["truncate"] = json!(false);
        }
        let body = body.to_string();
        let request = self.client.post(&self.url).header("content-type", "application/json").body(body);
        let response = request.send().await?.error_for_status()?;
        let bytes = response.bytes().await?;
        if self.kind == Kind::Limit {
            return Ok(Vec::new());
        }
        let body: Body = serde_json::from_slice(&bytes)?;
        body.embeddings.into_iter().next().context("the server gave no row")
    }
}

fn client() -> Result<Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Ok(Client::builder().tls_backend_preconfigured(tls).no_proxy().build()?)
}

/// What a server says of its version.
pub(crate) fn server_version(url: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Body {
        version: String,
    }
    let url = format!("{}/api/version", url.trim_end_matches('/'));
    let ask = async {
        client()?.get(&url).send().await?.error_for_status()?.bytes().await.map_err(anyhow::Error::from)
    };
    let bytes = Builder::new_current_thread().enable_all().build()?.block_on(ask);
    let bytes = bytes.with_context(|| format!("{url} doesn't answer"))?;
    Ok(serde_json::from_slice::<Body>(&bytes)?.version)
}

impl Contender for Direct {
    fn setting(&self) -> String {
        match self.kind {
            Kind::Sequential => "reqwest, one text after the other",
            Kind::Unlimited => "reqwest, all texts at once, one a request",
            Kind::Limit => "one kept connection, one request in flight, answers not parsed",
        }
        .to_owned()
    }

    fn embed(&self, texts: &[String], _: Role) -> Result<Vec<Vec<f32>>> {
        self.runtime.handle().block_on(async {
            if self.kind == Kind::Unlimited {
                return try_join_all(texts.iter().map(|text| self.request(text))).await;
            }
            let mut rows = Vec::with_capacity(texts.len());
            for text in texts {
                rows.push(self.request(text).await?);
            }
            Ok(rows)
        })
    }
}
