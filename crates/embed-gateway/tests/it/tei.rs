//! The dialect of text-embeddings-inference.

use embed_core::{Error, ErrorKind, Health, Role};
use serde_json::{Value, json};

use crate::client::{config, get, over, post, router};
use crate::double::{DIMENSION, Double, vector_of};

fn rows(value: &Value) -> Vec<Vec<f32>> {
    serde_json::from_value(value.clone()).unwrap()
}

#[tokio::test]
async fn inputs_get_their_vectors_by_prompt() {
    for (body, role) in [
        (json!({ "inputs": "x" }), Role::Document),
        (json!({ "inputs": ["x"], "prompt_name": "query" }), Role::Query),
        (
            json!({ "inputs": ["x"], "prompt_name": "passage", "normalize": true, "truncate": false }),
            Role::Document,
        ),
    ] {
        let reply = post(&router(), "/embed", body.to_string()).await.expect(200);
        assert_eq!(rows(&reply.json()), [vector_of(role, "x")], "{body}");
    }
    let cut = post(&router(), "/embed", r#"{"inputs":"x","dimensions":4}"#).await.expect(200).json();
    assert_eq!(rows(&cut)[0].len(), 4);
}

#[tokio::test]
async fn long_inputs_are_cut_by_default_at_either_end() {
    let words: Vec<String> = (0..600).map(|number| number.to_string()).collect();
    let text = words.join(" ");
    for (body, expected) in [
        (json!({ "inputs": text }), words[..510].join(" ")),
        (json!({ "inputs": text, "truncation_direction": "Left" }), words[90..].join(" ")),
    ] {
        let reply = post(&router(), "/embed", body.to_string()).await.expect(200);
        assert_eq!(reply.header("x-embed-truncated"), Some("1"));
        assert_eq!(rows(&reply.json()), [vector_of(Role::Document, &expected)]);
    }
    let error = post(&router(), "/embed", json!({ "inputs": text, "truncate": false }).to_string()).await;
    assert_eq!(error.expect(422).json()["error_type"], "Validation");
}

#[tokio::test]
async fn errors_are_in_its_shape() {
    for (body, status, kind) in [
        (r#"{"inputs":[]}"#, 400, "Empty"),
        (r#"{"inputs":""}"#, 422, "Validation"),
        (r#"{"inputs":[1]}"#, 422, "Validation"),
        (r#"{}"#, 422, "Validation"),
        (r#"{"inputs":"x","prompt_name":"poem"}"#, 422, "Validation"),
        (r#"{"inputs":"x","normalize":false}"#, 422, "Validation"),
        (r#"{"inputs":"x","dimensions":999}"#, 422, "Validation"),
        ("{", 422, "Validation"),
        (r#"{"inputs":"crash"}"#, 503, "Unhealthy"),
    ] {
        let error = post(&router(), "/embed", body).await.expect(status).json();
        assert_eq!(error["error_type"], kind, "{body}");
        assert!(error["error"].is_string());
    }
    let partial = post(&router(), "/embed", r#"{"inputs":["a",""],"partial":true}"#).await.expect(200).json();
    assert_eq!(partial[1]["error_type"], "Validation");
    assert_eq!(partial[0].as_array().unwrap().len(), DIMENSION);
}

#[tokio::test]
async fn info_and_health() {
    let info = get(&router(), "/info").await.expect(200).json();
    assert_eq!(info["model_id"], "double");
    assert_eq!(info["model_type"]["embedding"]["pooling"], "mean");
    assert_eq!(info["max_input_length"], 512);
    get(&router(), "/health").await.expect(200);
    let sick = Double::new();
    sick.set_health(Health::unavailable(Error::new(ErrorKind::Unavailable, "gone")));
    let error = get(&over(sick, config()), "/health").await.expect(503).json();
    assert_eq!(error, json!({ "error": "unhealthy", "error_type": "Unhealthy" }));
}
