//! The dialect of text-embeddings-inference.

use embed_core::{Error, ErrorKind, Health, Role, vector};
use embed_gateway::{GatewayConfig, ModelEntry};
use serde_json::{Value, json};

use crate::client::{config, get, over, post, router};
use crate::double::{DIMENSION, Double, model, vector_of};

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
async fn errors_have_its_shape() {
    for (body, status, kind) in [
        (r#"{"inputs":[]}"#, 400, "Empty"),
        (r#"{"inputs":""}"#, 422, "Validation"),
        (r#"{"inputs":[1]}"#, 422, "Validation"),
        (r#"{}"#, 422, "Validation"),
        (r#"{"inputs":"x","prompt_name":"poem"}"#, 422, "Validation"),
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

/// Haystack, langchain-huggingface and `huggingface_hub` post to the root path, Haystack with these defaults.
#[tokio::test]
async fn clients_of_hugging_face_post_to_the_root() {
    for (body, normalised) in [
        (json!({ "inputs": ["x", "y"], "truncate": true, "normalize": false }), Some("true")),
        (json!({ "inputs": ["x", "y"], "normalize": true }), None),
        (
            json!({ "inputs": ["x", "y"], "parameters": { "normalize": false }, "options": { "wait_for_model": true } }),
            Some("true"),
        ),
        (json!({ "inputs": ["x", "y"], "prompt_name": null, "truncation_direction": null }), None),
    ] {
        for path in ["/", "/embed"] {
            let reply = post(&router(), path, body.to_string()).await.expect(200);
            assert_eq!(rows(&reply.json()), ["x", "y"].map(|text| vector_of(Role::Document, text)), "{body}");
            // This model has no raw vectors, which the answer says.
            assert_eq!(reply.header("x-embed-normalized"), normalised, "{body}");
        }
    }
    let query = r#"{"inputs":"x","parameters":{"prompt_name":"query"}}"#;
    let query = post(&router(), "/", query).await.expect(200);
    assert_eq!(rows(&query.json()), [vector_of(Role::Query, "x")]);
    let error = post(&router(), "/", "{}").await.expect(422).json();
    assert_eq!(error["error_type"], "Validation");
    get(&router(), "/").await.expect(200);
}

#[tokio::test]
async fn texts_become_tokens_and_tokens_texts() {
    let asked = r#"{"inputs":"größer als","prompt_name":"query"}"#;
    let tokens = post(&router(), "/tokenize", asked).await.expect(200).json();
    assert_eq!(tokens[0][0], json!({ "id": 0, "text": "<s>", "special": true, "start": null, "stop": null }));
    assert_eq!(tokens[0][1]["text"], "query:");
    assert_eq!(tokens[0][3], json!({ "id": 3, "text": "als", "special": false, "start": 7, "stop": 10 }));
    let asked = r#"{"inputs":["a b","c"],"add_special_tokens":false}"#;
    let tokens = post(&router(), "/tokenize", asked).await.expect(200).json();
    assert_eq!([tokens[0].as_array().unwrap().len(), tokens[1].as_array().unwrap().len()], [3, 2]);
    for (ids, skip, texts) in [
        (json!([0, 1, 3, 2]), json!(null), json!(["x xxx"])),
        (json!([[0, 1], [3]]), json!(false), json!([" x", "xxx"])),
        (json!([]), json!(true), json!([""])),
    ] {
        let asked = json!({ "ids": ids, "skip_special_tokens": skip }).to_string();
        assert_eq!(post(&router(), "/decode", asked).await.expect(200).json(), texts);
    }
    for (path, body) in [
        ("/tokenize", r#"{"inputs":[]}"#),
        ("/tokenize", r#"{"inputs":["a",""]}"#),
        ("/tokenize", r#"{"inputs":"a","prompt_name":"poem"}"#),
        ("/decode", r#"{"ids":"a"}"#),
        ("/decode", r#"{"ids":[1,[2]]}"#),
        ("/decode", r#"{"ids":[-1]}"#),
        ("/decode", r#"{"ids":[99]}"#),
        ("/decode", "{"),
    ] {
        let error = post(&router(), path, body).await.expect(422).json();
        assert_eq!(error["error_type"], "Validation", "{body}");
    }
    // The tokenizer of a remote model is at its server.
    let without = GatewayConfig::new([ModelEntry::new("double", model("double"))]);
    let error = post(&over(Double::new(), without), "/tokenize", r#"{"inputs":"a"}"#).await.expect(501);
    assert!(error.json()["error"].as_str().unwrap().contains("tokenizer"), "{}", error.text);
}

#[tokio::test]
async fn sentences_are_compared_with_one() {
    let asked = json!({ "inputs": { "source_sentence": "x", "sentences": ["x", "y"] } });
    let near: Vec<f32> =
        serde_json::from_value(post(&router(), "/similarity", asked.to_string()).await.expect(200).json())
            .unwrap();
    let [x, y] = ["x", "y"].map(|text| vector_of(Role::Document, text));
    assert_eq!(near, [vector::cosine(&x, &x).unwrap(), vector::cosine(&x, &y).unwrap()]);
    let as_queries =
        json!({ "inputs": asked["inputs"], "parameters": { "prompt_name": "query" } }).to_string();
    let queries: Vec<f32> =
        serde_json::from_value(post(&router(), "/similarity", as_queries).await.expect(200).json()).unwrap();
    assert_ne!(near[1], queries[1]);
    for (body, status) in [
        (json!({ "inputs": "x" }), 422),
        (json!({ "inputs": { "source_sentence": "x" } }), 422),
        (json!({ "inputs": { "source_sentence": "x", "sentences": [] } }), 400),
        (json!({ "inputs": { "source_sentence": "x", "sentences": ["a", 5] } }), 422),
        (json!({ "inputs": { "source_sentence": "x", "sentences": ["a", ""] } }), 422),
    ] {
        post(&router(), "/similarity", body.to_string()).await.expect(status);
    }
}

#[tokio::test]
async fn endpoints_of_other_kinds_of_models_are_refused_with_a_message() {
    for path in ["/rerank", "/predict", "/embed_all", "/embed_sparse"] {
        let error = post(&router(), path, r#"{"inputs":"x"}"#).await.expect(424).json();
        assert_eq!(error["error_type"], "Backend");
        assert!(error["error"].as_str().unwrap().contains("/embed"));
    }
}

#[tokio::test]
async fn info_and_health() {
    let info = get(&router(), "/info").await.expect(200).json();
    assert_eq!(info["model_id"], "double");
    assert_eq!(info["model_type"]["embedding"]["pooling"], "mean");
    assert_eq!(info["max_input_length"], 512);
    assert_eq!(info["model_dtype"], "float16");
    get(&router(), "/health").await.expect(200);
    let sick = Double::new();
    sick.set_health(Health::unavailable(Error::new(ErrorKind::Unavailable, "gone")));
    let error = get(&over(sick, config()), "/health").await.expect(503).json();
    assert_eq!(error, json!({ "error": "unhealthy", "error_type": "Unhealthy" }));
}
