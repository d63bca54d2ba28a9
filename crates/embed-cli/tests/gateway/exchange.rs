//! Models and routes are exchanged while the gateway serves: no call fails, and each answer is wholly of one model.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use embed_encoder::Precision;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::http::{Connection, get, request, until};
use crate::serving::{Serving, has_minilm};

const CALLERS: usize = 64;

const INT8: &str = "[[model]]\nname = \"here\"\nmodel = \"all-minilm-l6-v2\"\n[cache]\nplace = \"off\"\n";

/// A gateway over a file that says [`INT8`]; `None` if a model isn't on this machine.
fn serving() -> Option<(TempDir, PathBuf, Serving)> {
    if !has_minilm(Precision::Int8) || !has_minilm(Precision::F32) {
        return None;
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("embed.toml");
    fs::write(&file, INT8).unwrap();
    let serving = Serving::start(&["--config", file.to_str().unwrap()], &[]);
    Some((folder, file, serving))
}

fn names(models: &serde_json::Value) -> Vec<String> {
    let models = models["data"].as_array().unwrap().iter();
    models.map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_exchanged_under_load() {
    let Some((_folder, file, serving)) = serving() else { return };
    let url = serving.url();
    let (end, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (url, end, answers) = (url.to_owned(), Arc::clone(&end), Arc::clone(&answers));
        callers.spawn(async move {
            let mut connection = Connection::open(&url).await.unwrap();
            let (mut failed, mut seen) = (0, BTreeSet::new());
            let body =
                json!({ "model": "here", "input": format!("the text of caller {caller}") }).to_string();
            while !end.load(Ordering::Relaxed) {
                let reply = connection.send(request("POST", "/v1/embeddings", body.clone())).await.unwrap();
                failed += usize::from(reply.status != 200);
                seen.insert(reply.json()["data"][0]["embedding"].to_string());
                answers.fetch_add(1, Ordering::Relaxed);
            }
            (failed, seen.len())
        });
    }
    let answered = async |more: u64| {
        let enough = answers.load(Ordering::Relaxed) + more;
        until("callers are answered", async || answers.load(Ordering::Relaxed) >= enough).await;
    };
    let exchanged = || serving.log().iter().filter(|event| event["models"] == "exchanged").count();
    answered(100).await;
    for (number, document) in
        [INT8.replace("[cache]", "precision = \"f32\"\n[cache]"), INT8.to_owned()].iter().enumerate()
    {
        fs::write(&file, document).unwrap();
        serving.signal("HUP");
        until("the model is exchanged", async || exchanged() == number + 1).await;
        answered(2 * CALLERS as u64).await;
    }
    // Nothing changed, so nothing is loaded.
    serving.signal("HUP");
    until("nothing is exchanged", async || serving.log().iter().any(|event| event["models"] == "as before"))
        .await;
    end.store(true, Ordering::Relaxed);
    for (failed, vectors) in callers.join_all().await {
        assert_eq!(failed, 0, "calls failed");
        assert_eq!(vectors, 2, "a text has its vector in int8 and the one in f32, and no other");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_come_and_go_and_a_wrong_file_changes_nothing() {
    let Some((_folder, file, serving)) = serving() else { return };
    let url = serving.url();
    let models = async || names(&get(url, "/v1/models").await.json());
    assert_eq!(models().await, ["here"]);

    let two = INT8.replace("[cache]", "[[model]]\nname = \"exact\"\nmodel = \"all-minilm-l6-v2\"\nprecision = \"f32\"\n[routes]\nja = \"exact\"\n\"*\" = \"here\"\n[cache]");
    fs::write(&file, two).unwrap();
    serving.signal("HUP");
    until("there are two models", async || models().await == ["auto", "here", "exact"]).await;
    let route = json!({ "input": ["富士山の高さ", "how deep is the lake"] }).to_string();
    let routes = crate::http::ask(url, request("POST", "/route", route)).await.unwrap().json();
    assert_eq!(
        (&routes["routes"][0]["route"], &routes["routes"][1]["route"]),
        (&json!("exact"), &json!("here")),
        "{routes}"
    );
    let counted = get(url, "/metrics").await.text();
    assert!(counted.contains("route=\"exact\""), "the new route has its own label");

    for wrong in
        [INT8.replace("all-minilm-l6-v2", "e5-huge"), INT8.replace("all-minilm-l6-v2", "e5-large-v2")]
    {
        let refused = || serving.log().iter().filter(|event| event["level"] == "ERROR").count();
        let before = refused();
        fs::write(&file, wrong).unwrap();
        serving.signal("HUP");
        until("the file is refused", async || refused() == before + 1).await;
        assert_eq!(models().await, ["auto", "here", "exact"]);
    }
    fs::write(&file, INT8).unwrap();
    serving.signal("HUP");
    until("there is one model", async || models().await == ["here"]).await;
}
