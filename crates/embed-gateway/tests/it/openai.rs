//! `/v1/embeddings` and `/v1/models`.

use base64::Engine;
use embed_core::{EmbedRequest, Embedder, Role, vector};
use embed_gateway::{AdmissionConfig, GatewayConfig, ModelEntry};
use serde_json::{Value, json};

use crate::client::{Reply, config, get, over, post, router};
use crate::double::{DIMENSION, Double, model, vector_of};

async fn ask(body: Value) -> Reply {
    post(&router(), "/v1/embeddings", body.to_string()).await
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn decoded(value: &Value) -> Vec<f32> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap();
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

#[tokio::test]
async fn a_text_and_an_array_get_their_vectors() {
    let one = ask(json!({ "model": "double", "input": "hello world" })).await.expect(200);
    assert_eq!(one.header("content-type"), Some("application/json"));
    assert_eq!(one.header("x-embed-space"), Some("double/mean/query-passage/l2/16"));
    let answer = one.json();
    assert_eq!(answer["object"], "list");
    assert_eq!(answer["model"], "double");
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 4, "total_tokens": 4 }));
    assert_eq!(answer["data"][0]["object"], "embedding");
    assert_eq!(answer["data"][0]["index"], 0);
    assert_eq!(floats(&answer["data"][0]["embedding"]), vector_of(Role::Document, "hello world"));

    let both = json!({ "model": "text-embedding-3-small", "input": ["a", "b"], "user": "u" });
    let answer = ask(both).await.expect(200).json();
    assert_eq!(answer["model"], "text-embedding-3-small", "the requested name is repeated");
    assert_eq!(floats(&answer["data"][1]["embedding"]), vector_of(Role::Document, "b"));
}

#[tokio::test]
async fn base64_is_the_same_numbers() {
    let body = json!({ "model": "double", "input": ["a", "b"], "encoding_format": "base64" });
    let answer = ask(body).await.expect(200).json();
    assert_eq!(decoded(&answer["data"][1]["embedding"]), vector_of(Role::Document, "b"));
}

#[tokio::test]
async fn the_role_comes_from_the_field_or_the_name() {
    for (model, input_type, role) in [
        ("double", None, Role::Document),
        ("double:query", None, Role::Query),
        ("double:document", None, Role::Document),
        ("double", Some("query"), Role::Query),
        ("double", Some("search_query"), Role::Query),
        ("double", Some("passage"), Role::Document),
        ("double:query", Some("search_query"), Role::Query),
    ] {
        let answer = ask(json!({ "model": model, "input": "x", "input_type": input_type })).await.expect(200);
        assert_eq!(
            floats(&answer.json()["data"][0]["embedding"]),
            vector_of(role, "x"),
            "{model} {input_type:?}"
        );
    }
    let error =
        ask(json!({ "model": "double:query", "input": "x", "input_type": "document" })).await.expect(400);
    assert_eq!(error.json()["error"]["param"], "input_type");
}

/// Fields of other servers for the role, all for the text `x`, with the expected role.
#[tokio::test]
async fn a_role_under_another_name_is_honoured() {
    for (fields, role) in [
        (json!({ "task": "retrieval.query" }), Role::Query),
        (json!({ "task": "retrieval.passage" }), Role::Document),
        (json!({ "task": "feature-extraction" }), Role::Document),
        (json!({ "task_type": "RETRIEVAL_QUERY" }), Role::Query),
        (json!({ "task_type": "search_document" }), Role::Document),
        (json!({ "prompt_name": "query" }), Role::Query),
        (json!({ "prompt_name": "passage" }), Role::Document),
        (json!({ "input_type": "Query" }), Role::Query),
        (json!({ "text_type": "query" }), Role::Query),
        (json!({ "role": "query" }), Role::Query),
        (json!({ "type": "db" }), Role::Document),
        (json!({ "is_query": true }), Role::Query),
        (json!({ "prompt": "query: " }), Role::Query),
        (json!({ "instruction": "passage:" }), Role::Document),
        (json!({ "instruct": "", "prompt": null }), Role::Document),
        (json!({ "task": "retrieval.query", "input_type": "query" }), Role::Query),
        (json!({ "metadata": { "task": "retrieval.query" }, "priority": 1 }), Role::Document),
    ] {
        for (path, text, answer) in [
            ("/v1/embeddings", "input", "/data/0/embedding"),
            ("/embeddings", "input", "/data/0/embedding"),
            ("/embed", "inputs", "/0"),
            ("/api/embed", "input", "/embeddings/0"),
            ("/api/embeddings", "prompt", "/embedding"),
        ] {
            // The field has another meaning there.
            if path.starts_with("/api") && fields.get("prompt").is_some() {
                continue;
            }
            let mut body = fields.clone();
            body[text] = "x".into();
            body["model"] = "double".into();
            let reply = post(&router(), path, body.to_string()).await.expect(200).json();
            assert_eq!(floats(reply.pointer(answer).unwrap()), vector_of(role, "x"), "{path} {body}");
        }
    }
}

#[tokio::test]
async fn unsupported_fields_that_would_change_a_vector_are_refused() {
    for (field, value) in [
        ("task", json!("text-matching")),
        ("task", json!("separation")),
        ("task", json!(5)),
        ("task_type", json!("SEMANTIC_SIMILARITY")),
        ("prompt_name", json!("s2s_query_of_a_poem")),
        ("input_type", json!("image")),
        ("instruction", json!("Represent the sentence for clustering: ")),
        ("instruct", json!("Given a query, retrieve passages")),
        ("query_instruction", json!("find: ")),
        ("output_dimension", json!(17)),
        ("truncate_dim", json!("many")),
        ("truncate", json!("MIDDLE")),
        ("truncation_side", json!("both")),
        ("truncate_prompt_tokens", json!(100)),
        ("max_length", json!(256)),
        ("normalized", json!(false)),
        ("embd_normalize", json!(-1)),
        ("output_dtype", json!("int8")),
        ("embedding_type", json!("ubinary")),
        ("embedding_types", json!(["float", "int8"])),
        ("pooling", json!("cls")),
        ("late_chunking", json!(true)),
        ("return_multivector", json!(true)),
        ("add_special_tokens", json!(false)),
        ("modality", json!("image")),
        ("messages", json!([{ "role": "user", "content": "x" }])),
        ("adapter", json!("legal")),
    ] {
        for (path, text) in [("/v1/embeddings", "input"), ("/embed", "inputs"), ("/api/embed", "input")] {
            let mut body = json!({ "model": "double" });
            body[text] = "x".into();
            body[field] = value.clone();
            let reply = post(&router(), path, body.to_string()).await;
            // Ollama ignores an impossible dimension, and has Go's messages for its own fields; TEI's answer has a header
            // that says that vectors are normalised.
            match (path, field) {
                ("/api/embed", "output_dimension" | "truncate") => continue,
                ("/embed", "normalized" | "embd_normalize") => continue,
                _ => {}
            }
            assert!([400, 422].contains(&reply.status.as_u16()), "{path} {body}: {}", reply.text);
            assert!(reply.text.contains(field), "{path} {body}: {}", reply.text);
        }
    }
    for (one, other) in [("task", "retrieval.passage"), ("role", "document")] {
        let body = json!({ "model": "double", "input": "x", "input_type": "query", one: other });
        let error = ask(body).await.expect(400);
        assert!(error.text.contains("contradict"), "{}", error.text);
    }
    let named = json!({ "model": "double:query", "input": "x", "task": "retrieval.passage" });
    assert_eq!(ask(named).await.expect(400).json()["error"]["param"], "task");
}

#[tokio::test]
async fn other_names_of_supported_fields_are_honoured() {
    for field in ["dimensions", "dimension", "output_dimension", "output_dimensionality", "truncate_dim"] {
        for number in [json!(4), json!(4.0)] {
            let reply = ask(json!({ "model": "double", "input": "x", field: number })).await.expect(200);
            assert_eq!(floats(&reply.json()["data"][0]["embedding"]).len(), 4, "{field}");
        }
    }
    let words: Vec<String> = (0..600).map(|number| number.to_string()).collect();
    let text = words.join(" ");
    let (head, tail) = (words[..510].join(" "), words[90..].join(" "));
    for (fields, kept) in [
        (json!({ "truncate": "END" }), Some(&head)),
        (json!({ "truncate": "START" }), Some(&tail)),
        (json!({ "truncate": true }), Some(&head)),
        (json!({ "truncation": true, "truncation_side": "left" }), Some(&tail)),
        (json!({ "truncate": "NONE" }), None),
        (json!({ "truncation": false }), None),
        (json!({ "truncation_side": "left" }), None),
        (json!({ "truncate_prompt_tokens": 512, "truncate": true }), Some(&head)),
    ] {
        let mut body = json!({ "model": "double", "input": text });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let reply = ask(body).await.expect(if kept.is_some() { 200 } else { 400 });
        if let Some(kept) = kept {
            let vector = floats(&reply.json()["data"][0]["embedding"]);
            assert_eq!(vector, vector_of(Role::Document, kept), "{fields}");
        }
    }
    for fields in [
        json!({ "normalized": true, "embedding_type": "float", "output_dtype": "float32", "pooling": "mean_tokens" }),
        json!({ "late_chunking": false, "modality": "text", "messages": [], "max_length": 8192, "embedding_types": ["float"] }),
        json!({ "user": "u", "metadata": {}, "extra_body": 1, "store": true }),
    ] {
        let mut body = json!({ "model": "double", "input": "x" });
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let reply = ask(body).await.expect(200).json();
        assert_eq!(floats(&reply["data"][0]["embedding"]), vector_of(Role::Document, "x"));
    }
    let packed =
        ask(json!({ "model": "double", "input": "x", "embedding_type": "base64" })).await.expect(200);
    assert_eq!(decoded(&packed.json()["data"][0]["embedding"]), vector_of(Role::Document, "x"));
}

#[tokio::test]
async fn an_unknown_count_is_estimated_and_marked() {
    let counted = ask(json!({ "model": "double", "input": ["a b"] })).await.expect(200).json();
    assert_eq!(counted["usage"], json!({ "prompt_tokens": 4, "total_tokens": 4 }));
    let body = json!({ "model": "double", "input": ["a b", "uncounted"] });
    let answer = ask(body.clone()).await.expect(200).json();
    // Twelve bytes.
    assert_eq!(
        answer["usage"],
        json!({ "prompt_tokens": 3, "total_tokens": 3, "estimated": true }),
        "{answer}"
    );
    let short = ask(json!({ "model": "double", "input": vec!["uncounted"; 1] })).await.expect(200).json();
    assert_eq!(short["usage"]["estimated"], true, "{short}");
    let answer = post(&router(), "/api/embed", body.to_string()).await.expect(200).json();
    assert_eq!(answer.get("prompt_eval_count"), None, "{answer}");
}

#[tokio::test]
async fn an_unpaired_surrogate_is_a_replacement_character_in_its_own_row() {
    let texts = r#"["whole","cut \ud83d","\ude00 cut","\ud83d\ude00","a \\ud83d"]"#;
    let expected = ["whole", "cut \u{fffd}", "\u{fffd} cut", "😀", "a \\ud83d"];
    for (path, body) in [
        ("/v1/embeddings", format!(r#"{{"model":"double","input":{texts}}}"#)),
        ("/api/embed", format!(r#"{{"model":"double","input":{texts}}}"#)),
        ("/embed", format!(r#"{{"inputs":{texts}}}"#)),
    ] {
        let answer = post(&router(), path, body).await.expect(200).json();
        for (index, text) in expected.iter().enumerate() {
            let row = match path {
                "/v1/embeddings" => &answer["data"][index]["embedding"],
                "/api/embed" => &answer["embeddings"][index],
                _ => &answer[index],
            };
            assert_eq!(floats(row), vector_of(Role::Document, text), "{path} {index}");
        }
    }
}

#[tokio::test]
async fn hub_ids_are_names_and_the_first_model_is_the_default() {
    for model in [
        "intfloat/Double-Small",
        "intfloat/double-small:latest",
        "INTFLOAT/DOUBLE-SMALL",
        "hf.co/intfloat/double-small",
        "https://huggingface.co/intfloat/Double-Small",
    ] {
        let answer = ask(json!({ "model": model, "input": "x" })).await.expect(200).json();
        assert_eq!(answer["model"], model);
        assert_eq!(floats(&answer["data"][0]["embedding"]), vector_of(Role::Document, "x"));
        let query = json!({ "model": format!("{model}:query"), "input": "x" }).to_string();
        let answer = post(&router(), "/api/embed", query).await.expect(200).json();
        assert_eq!(floats(&answer["embeddings"][0]), vector_of(Role::Query, "x"));
    }
    get(&router(), "/v1/models/intfloat/Double-Small").await.expect(200);
    for (path, body) in [
        ("/v1/embeddings", json!({ "input": ["x"] })),
        ("/embeddings", json!({ "input": "x", "model": null })),
    ] {
        let answer = post(&router(), path, body.to_string()).await.expect(200).json();
        assert_eq!(answer["model"], "double");
        assert_eq!(floats(&answer["data"][0]["embedding"]), vector_of(Role::Document, "x"));
    }
}

#[tokio::test]
async fn dimensions_cut_normalise_and_name_another_space() {
    let reply = ask(json!({ "model": "double", "input": "x", "dimensions": 4 })).await.expect(200);
    assert_eq!(reply.header("x-embed-space"), Some("double/mean/query-passage/l2/4"));
    let cut = floats(&reply.json()["data"][0]["embedding"]);
    assert_eq!(cut, vector::truncate_dimensions(&vector_of(Role::Document, "x"), 4).unwrap());
    for bad in [0, -1, DIMENSION as i64 + 1] {
        let error =
            ask(json!({ "model": "double", "input": "x", "dimensions": bad })).await.expect(400).json();
        assert_eq!(error["error"]["param"], "dimensions");
    }
}

#[tokio::test]
async fn errors_have_the_shape_of_openai() {
    for (body, param, part) in [
        (json!({ "model": "double", "input": [[1, 2, 3]] }), "input", "token ids"),
        (json!({ "model": "double", "input": [1, 2, 3] }), "input", "token ids"),
        (json!({ "model": "double", "input": ["a", 5] }), "input", "element 1"),
        (json!({ "model": "double", "input": [] }), "input", "at least one"),
        (json!({ "model": "double" }), "input", "at least one"),
        (json!({ "model": "double", "input": { "a": 1 } }), "input", "object"),
        (json!({ "model": "", "input": "x" }), "model", "leave it out"),
        (json!({ "model": "double", "input": [["a", "b"], ["c"]] }), "input", "one array of strings"),
        (json!({ "model": "double", "input": [[]] }), "input", "one array of strings"),
        (json!({ "model": 5, "input": "x" }), "model", "number"),
        (json!({ "model": "double", "input": "x", "encoding_format": "int8" }), "encoding_format", "base64"),
        (json!({ "model": "double", "input": "x", "input_type": "clustering" }), "input_type", "query"),
        (json!({ "model": "double", "input": "x", "dimensions": 1.5 }), "dimensions", "whole"),
        (json!({ "model": "double", "input": "x", "truncation": "middle" }), "truncation", "chunk-mean"),
        (json!({ "model": "double", "input": "x", "partial": 1 }), "partial", "true or false"),
    ] {
        let error = ask(body.clone()).await.expect(400).json()["error"].clone();
        assert_eq!(error["type"], "invalid_request_error", "{body}");
        assert_eq!(error["param"], param, "{body}");
        assert!(error["message"].as_str().unwrap().contains(part), "{body}: {error}");
    }
    let unknown = ask(json!({ "model": "gpt-4", "input": "x" })).await.expect(404).json();
    assert_eq!(unknown["error"]["code"], "model_not_found");
    assert_eq!(unknown["error"]["type"], "invalid_request_error");
    for (path, status) in [("/v1/nothing", 404), ("/v1/embeddings", 405)] {
        let error = get(&router(), path).await.expect(status).json();
        assert_eq!(error["error"]["type"], "invalid_request_error");
    }
}

#[tokio::test]
async fn one_bad_text_fails_the_request_and_is_named() {
    let error = ask(json!({ "model": "double", "input": ["a", "b", " "] })).await.expect(400).json();
    assert_eq!(error["error"]["row"], 2);
    assert_eq!(error["error"]["code"], "invalid_input");
    let down = ask(json!({ "model": "double", "input": ["a", "crash"] })).await.expect(503);
    assert_eq!(down.header("retry-after"), Some("1"));
    assert!(!down.text.contains("10.0.0.9"), "{}", down.text);
    let long = ask(json!({ "model": "double", "input": "w ".repeat(600) })).await.expect(400).json();
    assert_eq!(long["error"]["code"], "context_length_exceeded");
    assert_eq!(long["error"].get("row"), None, "a single text needs no index");
}

#[tokio::test]
async fn a_partial_answer_keeps_the_good_rows() {
    let body = json!({ "model": "double", "input": ["a", "", "crash", "b"], "partial": true });
    let answer = ask(body).await.expect(200).json();
    assert_eq!(floats(&answer["data"][3]["embedding"]), vector_of(Role::Document, "b"));
    assert_eq!(answer["data"][1]["embedding"], Value::Null);
    assert_eq!(answer["data"][1]["error"]["code"], "invalid_input");
    assert_eq!(answer["data"][2]["error"]["code"], "unavailable");
    let all_down = json!({ "model": "double", "input": ["crash", "crash"], "partial": true });
    ask(all_down).await.expect(503);
}

#[tokio::test]
async fn long_texts_are_cut_only_on_request_and_counted() {
    let text = "w ".repeat(600);
    let body = json!({ "model": "double", "input": [text, "short"], "truncation": "end", "details": true });
    let reply = ask(body).await.expect(200);
    assert_eq!(reply.header("x-embed-truncated"), Some("1"));
    let answer = reply.json();
    assert_eq!(answer["data"][0]["details"]["truncated"], true);
    assert_eq!(answer["data"][0]["details"]["tokens"], json!({ "used": 512, "total": 602 }));
    assert_eq!(answer["data"][1]["details"]["service"], "double");
    assert_eq!(answer["data"][1]["space"], "double/mean/query-passage/l2/16");
}

/// One piece at a time at the stack.
fn one_by_one() -> axum::Router {
    over(Double::new(), config().with_admission(AdmissionConfig::default().with_pieces(64, 1 << 20, 1)))
}

#[tokio::test]
async fn a_request_of_any_size_is_cut_into_pieces_and_keeps_its_order() {
    let texts: Vec<String> = (0..1000).map(|number| format!("text {number}")).collect();
    let stack = std::sync::Arc::new(Double::new());
    let router = over(std::sync::Arc::clone(&stack), config());
    let body = json!({ "model": "double", "input": texts }).to_string();
    let answer = post(&router, "/v1/embeddings", body.clone()).await.expect(200).json();
    for (index, text) in texts.iter().enumerate() {
        assert_eq!(answer["data"][index]["index"], index);
        assert_eq!(floats(&answer["data"][index]["embedding"]), vector_of(Role::Document, text));
    }
    assert_eq!(post(&one_by_one(), "/v1/embeddings", body).await.expect(200).json()["data"], answer["data"]);
    let sizes = std::mem::take(&mut *stack.sizes.lock().unwrap());
    assert!(sizes.iter().all(|size| *size <= 64) && sizes.len() == 16, "{sizes:?}");

    let long = "x".repeat(200 << 10);
    let body = json!({ "model": "double", "input": [long, long, "a", "b"], "truncation": "end" }).to_string();
    post(&router, "/v1/embeddings", body).await.expect(200);
    assert_eq!(*stack.sizes.lock().unwrap(), [1, 3], "pieces are limited by bytes too");
}

#[tokio::test]
async fn a_model_of_one_space_never_answers_in_another() {
    let one = json!({ "model": "double", "input": ["hello", "こんにちは"] }).to_string();
    let error = post(&over(Double::mixed(), config()), "/v1/embeddings", one).await.expect(502).json();
    assert_eq!(error["error"]["code"], "space_mismatch");

    let auto = GatewayConfig::new([ModelEntry::new("auto", model("double")).with_mixed_spaces(true)]);
    let router = over(Double::mixed(), auto);
    let body = json!({ "model": "auto", "input": ["hello", "こんにちは"] }).to_string();
    let reply = post(&router, "/v1/embeddings", body.clone()).await.expect(200);
    assert_eq!(reply.header("x-embed-space"), None, "they have none in common");
    let answer = reply.json();
    assert_eq!(answer["data"][0]["space"], "double/mean/query-passage/l2/16");
    assert_eq!(answer["data"][1]["space"], "japanese/mean/query-passage/l2/16");
    // The other dialects can't name the spaces.
    let error = post(&router, "/api/embed", body).await.expect(400);
    assert!(error.text.contains("several vector spaces"), "{}", error.text);
    let inputs = json!({ "inputs": ["hello", "こんにちは"] }).to_string();
    post(&router, "/embed", inputs).await.expect(400);
    let alone = json!({ "model": "auto", "input": "こんにちは" }).to_string();
    let reply = post(&router, "/api/embed", alone).await.expect(200);
    assert_eq!(reply.header("x-embed-space"), Some("japanese/mean/query-passage/l2/16"));
}

#[tokio::test]
async fn models_are_listed_and_shown() {
    let list = get(&router(), "/v1/models").await.expect(200).json();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0]["id"], "double");
    assert_eq!(list["data"][0]["dimensions"], DIMENSION);
    assert!(list["data"][0]["created"].as_u64().unwrap() > 1_700_000_000);
    for id in ["double", "text-embedding-3-small", "library/double:latest"] {
        assert_eq!(get(&router(), &format!("/v1/models/{id}")).await.expect(200).json()["id"], id);
    }
    let error = get(&router(), "/v1/models/nope").await.expect(404).json();
    assert_eq!(error["error"]["code"], "model_not_found");
}

#[tokio::test]
async fn the_gateway_adds_nothing_to_the_numbers() {
    let stack = Double::new();
    let request = EmbedRequest::new(["one", "two"], Role::Query);
    let direct = stack.embed(request).await.unwrap();
    let body = json!({ "model": "double:query", "input": ["one", "two"] });
    let answer = ask(body).await.expect(200).json();
    for (index, row) in direct.rows().enumerate() {
        assert_eq!(floats(&answer["data"][index]["embedding"]), row.unwrap().vector());
    }
}
