//! Models at servers that speak OpenAI's API, behind a gateway that declares them.

use std::fs;
use std::process::Stdio;

use embed_core::vector::cosine;
use serde_json::json;
use tempfile::TempDir;

use crate::http::{Reply, ask, get, request, until};
use crate::serving::{Serving, embed, has_e5};

async fn embedded(url: &str, model: &str, texts: &[&str]) -> Reply {
    let body = json!({ "model": model, "input": texts }).to_string();
    ask(url, request("POST", "/v1/embeddings", body)).await.unwrap()
}

fn vectors(reply: &Reply) -> Vec<Vec<f32>> {
    let rows = reply.json()["data"].as_array().unwrap().clone();
    rows.into_iter().map(|row| serde_json::from_value(row["embedding"].clone()).unwrap()).collect()
}

fn document(folder: &TempDir, url: &str) -> String {
    let file = folder.path().join("embed.toml");
    let text = format!(
        "[[model]]\nname = \"far\"\nbackend = \"openai\"\nmodel = \"multilingual-e5-small\"\nurl = \"{url}/v1\"\n\
         space = \"far-e5\"\ndimension = 384\n[cache]\nplace = \"off\"\n"
    );
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// One gateway behind another: the same vectors, in the space that the settings declare.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_openai_is_a_model() {
    if !has_e5() {
        return;
    }
    let texts = ["how deep is the lake", "富士山の高さ", "The committee met on 14 May 1998."];
    let back = Serving::start(&["--service", "e5"], &[]);
    let folder = TempDir::new().unwrap();
    let front = Serving::start(&["--config", &document(&folder, back.url())], &[]);
    let (theirs, ours) = (
        embedded(back.url(), "multilingual-e5-small", &texts).await,
        embedded(front.url(), "far", &texts).await,
    );
    assert_eq!(ours.status, 200, "{}", ours.text());
    assert!(ours.header("x-embed-space").starts_with("far-e5/"), "{:?}", ours.headers);
    for (theirs, ours) in vectors(&theirs).iter().zip(&vectors(&ours)) {
        assert!(cosine(theirs, ours).unwrap() > 0.999_999);
    }
    let counted = get(front.url(), "/metrics").await.text();
    assert!(counted.contains("service=\"openai\",model=\"multilingual-e5-small\""), "{counted}");
}

/// A server that comes later than the gateway.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_come_later() {
    if !has_e5() {
        return;
    }
    // A port that is free now.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let folder = TempDir::new().unwrap();
    let front = Serving::start(&["--config", &document(&folder, &format!("http://{address}"))], &[]);
    let absent = embedded(front.url(), "far", &["a text"]).await;
    assert_eq!(absent.status, 503, "{}", absent.text());
    let port = address.port().to_string();
    let mut back =
        embed().args(["serve", "--port", &port]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("it answers", async || embedded(front.url(), "far", &["a text"]).await.status == 200).await;
    back.kill().unwrap();
    back.wait().unwrap();
}
