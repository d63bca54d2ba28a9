//! `embed certify` against servers that are right, and against a double with one fault at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use embed_core::{EmbedRequest, Embedder, Role, Truncation, vector};
use embed_encoder::assets::{DataHome, ModelFiles};
use embed_encoder::{Encoder, EncoderConfig, Precision, Profile};
use embed_testkit::ollama::rig;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{Run, embed};

const MINILM: &str = "all-minilm-l6-v2";
const E5: &str = "multilingual-e5-small";

/// What a double does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    AnotherModel,
    FourBits,
    NoPrompt,
    PromptTwice,
    NotNormalised,
    CutEarly,
    AccentsLost,
    Neighbours,
    RowsSwapped,
    RowsSwappedUnderLoad,
    NotANumber,
    DimensionsIgnored,
    DimensionsNotNormalised,
    Unsteady,
}

struct Double {
    encoder: Arc<Encoder>,
    fault: Fault,
    in_flight: AtomicUsize,
    calls: AtomicUsize,
}

/// A model in f32 without prompts, loaded once; `None` if it isn't on this machine, which is said aloud.
fn model(name: &str) -> Option<Arc<Encoder>> {
    static MODELS: [OnceLock<Option<Arc<Encoder>>>; 2] = [const { OnceLock::new() }; 2];
    let loaded = MODELS[usize::from(name == E5)].get_or_init(|| {
        let profile = Profile::by_name(name).unwrap();
        let files = ModelFiles::find(&DataHome::from_env().unwrap(), profile, Precision::F32);
        embed_testkit::require(&format!("{name} (f32)"), files)?;
        let bare: &'static Profile = Box::leak(Box::new(profile.clone().with_prompts("", "")));
        let config = EncoderConfig::default().with_profile(bare).with_precision(Precision::F32);
        Some(Arc::new(Encoder::load_blocking(config).unwrap()))
    });
    loaded.clone()
}

impl Double {
    /// The vector of a text, with what is wrong about a text alone.
    async fn vector(&self, model: &str, text: &str) -> Vec<f32> {
        let mut text = text.to_owned();
        match self.fault {
            Fault::AccentsLost => text.retain(|letter| letter.is_ascii()),
            Fault::CutEarly => text = text.split(' ').take(50).collect::<Vec<_>>().join(" "),
            _ => {}
        }
        let prompt = match (model, self.fault) {
            (MINILM, _) | (_, Fault::NoPrompt) => "",
            (_, Fault::PromptTwice) => "passage: passage: ",
            _ => "passage: ",
        };
        let request = EmbedRequest::new([format!("{prompt}{text}")], Role::Document);
        let response = self.encoder.embed(request.with_truncation(Truncation::End)).await.unwrap();
        let mut vector = response.row(0).unwrap().vector().to_vec();
        let noise = |seed: usize, part: f32, vector: &mut Vec<f32>| {
            let mut state = seed as u32 ^ 0x9E37_79B9;
            for value in vector.iter_mut() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *value += ((state >> 16) as f32 / 65_536.0 - 0.5) * part;
            }
            vector::normalise(vector);
        };
        match self.fault {
            Fault::AnotherModel => vector.reverse(),
            // A cosine of some 0.98.
            Fault::FourBits => noise(text.len(), 0.035, &mut vector),
            Fault::Unsteady => noise(self.calls.fetch_add(1, Ordering::SeqCst), 0.035, &mut vector),
            Fault::NotNormalised => vector.iter_mut().for_each(|value| *value *= 3.0),
            _ => {}
        }
        vector
    }

    async fn rows(&self, model: &str, texts: &[String]) -> Vec<Vec<f32>> {
        let among = self.in_flight.fetch_add(1, Ordering::SeqCst);
        let mut rows = Vec::new();
        for text in texts {
            rows.push(self.vector(model, text).await);
        }
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        let is_swapped = match self.fault {
            Fault::RowsSwapped => true,
            Fault::RowsSwappedUnderLoad => among > 0,
            _ => false,
        };
        if rows.len() > 1 && is_swapped {
            rows.swap(0, 1);
        }
        if rows.len() > 1 && self.fault == Fault::Neighbours {
            let neighbour = rows[1].clone();
            rows[0].iter_mut().zip(neighbour).for_each(|(value, other)| *value += 0.1 * other);
            vector::normalise(&mut rows[0]);
        }
        rows
    }
}

async fn embeddings(State(double): State<Arc<Double>>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    let model = body["model"].as_str().unwrap();
    let texts: Vec<String> = serde_json::from_value(body["input"].clone()).unwrap();
    let mut rows = double.rows(model, &texts).await;
    if let Some(dimensions) = body["dimensions"].as_u64().filter(|_| double.fault != Fault::DimensionsIgnored)
    {
        for row in &mut rows {
            row.truncate(dimensions as usize);
            if double.fault != Fault::DimensionsNotNormalised {
                vector::normalise(row);
            }
        }
    }
    let row = |(index, row): (usize, &Vec<f32>)| {
        let mut embedding = json!(row);
        if double.fault == Fault::NotANumber && texts[index].contains('🎉') {
            embedding[7] = Value::Null;
        }
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    };
    let data: Vec<Value> = rows.iter().enumerate().map(row).collect();
    (StatusCode::OK, Json(json!({ "object": "list", "data": data, "model": model })))
}

/// Certifies a double with a fault; the names of the checks that found one.
fn faults(model_name: &'static str, fault: Fault) -> Option<(Option<i32>, Vec<String>)> {
    let encoder = model(model_name)?;
    let double =
        Arc::new(Double { encoder, fault, in_flight: AtomicUsize::new(0), calls: AtomicUsize::new(0) });
    let models = json!({ "object": "list", "data": [{ "id": model_name }] });
    let app = Router::new()
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/models", get(async move || Json(models)))
        .with_state(double);
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, app).await });
    Some(certified(&[&url]))
}

fn certified(args: &[&str]) -> (Option<i32>, Vec<String>) {
    let run: Run = embed().args(["certify", "--format", "jsonl"]).args(args).output().unwrap().into();
    assert!(!run.out.is_empty(), "{run:?}");
    let rows = run.rows();
    let found = rows.iter().filter(|row| row["status"] == "fault");
    (run.code, found.map(|row| format!("{}: {}", row["check"].as_str().unwrap(), row["detail"])).collect())
}

#[test]
fn each_fault_is_named() {
    for (name, fault, check) in [
        (MINILM, Fault::AnotherModel, "model: \"all-minilm-l6-v2: another model"),
        (MINILM, Fault::FourBits, "model: \"all-minilm-l6-v2: weights of about 4 bits"),
        (E5, Fault::NoPrompt, "prompt: \"the server puts none"),
        (E5, Fault::PromptTwice, "prompt: \"the server puts the prompt"),
        (MINILM, Fault::NotNormalised, "norm: "),
        (MINILM, Fault::CutEarly, "long text: \"cut in silence at 64 tokens"),
        (MINILM, Fault::AccentsLost, "accents: "),
        (MINILM, Fault::Neighbours, "batch: \"a text among others"),
        (MINILM, Fault::RowsSwapped, "batch: \"a row of a request is the vector of another text"),
        (MINILM, Fault::RowsSwappedUnderLoad, "load: \"with 8 callers at once, a row of a request"),
        (MINILM, Fault::NotANumber, "numbers: "),
        (MINILM, Fault::DimensionsIgnored, "dimensions: \"192 were asked for, and 384 came"),
        (MINILM, Fault::DimensionsNotNormalised, "dimensions: \"a vector of fewer"),
        (MINILM, Fault::Unsteady, "repeat: "),
    ] {
        let Some((code, found)) = faults(name, fault) else { return };
        assert_eq!(code, Some(1), "{fault:?}");
        assert!(found.iter().any(|found| found.starts_with(check)), "{fault:?}: {found:?}");
    }
}

#[test]
fn a_server_without_faults_is_right() {
    for name in [MINILM, E5] {
        let Some(found) = faults(name, Fault::None) else { return };
        assert_eq!(found, (Some(0), Vec::new()), "{name}");
    }
}

#[test]
fn models_in_this_process_are_right() {
    for name in [MINILM, E5] {
        if model(name).is_none() {
            return;
        }
        assert_eq!(certified(&[name]), (Some(0), Vec::new()), "{name}");
    }
}

#[test]
fn real_servers_of_ollama_are_right() {
    if model(MINILM).is_none() {
        return;
    }
    for version in ["0.5.4", "0.9.3"] {
        let Some(server) = rig::require(version) else { continue };
        assert_eq!(certified(&[server.url(), "--model", "all-minilm"]), (Some(0), Vec::new()), "{version}");
    }
}

#[test]
fn a_server_that_is_not_there_is_no_finding() {
    let run: Run = embed().args(["certify", "http://127.0.0.1:9"]).output().unwrap().into();
    assert_eq!(run.code, Some(4), "{run:?}");
    assert!(run.err.contains("--model"), "{run:?}");
}
