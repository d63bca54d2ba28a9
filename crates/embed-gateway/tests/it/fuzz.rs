//! Any body in every dialect gets an answer in the dialect's shape, and never a 500.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::client::{post, router};

const PATHS: [&str; 16] = [
    "/v1/embeddings",
    "/embeddings",
    "/",
    "/tokenize",
    "/decode",
    "/similarity",
    "/rerank",
    "/api/pull",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
    "/api/show",
    "/embed",
    "/embed/plan",
    "/route",
    "/nothing",
];

const KEYS: [&str; 29] = [
    "model",
    "MODEL",
    "input",
    "inputs",
    "prompt",
    "name",
    "encoding_format",
    "dimensions",
    "user",
    "input_type",
    "truncation",
    "partial",
    "details",
    "truncate",
    "truncation_direction",
    "prompt_name",
    "normalize",
    "keep_alive",
    "options",
    "role",
    "task",
    "instruction",
    "output_dimension",
    "output_dtype",
    "parameters",
    "ids",
    "stream",
    "messages",
    "max_length",
];

fn word() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec![
            "double",
            "double:query",
            "base64",
            "float",
            "query",
            "end",
            "5m",
            "Left",
            ""
        ])
        .prop_map(|word| json!(word)),
        ".{0,12}".prop_map(|word| json!(word)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => word(),
        1 => any::<bool>().prop_map(|flag| json!(flag)),
        1 => (-20..40_i64).prop_map(|number| json!(number)),
        1 => any::<f64>().prop_map(|number| json!(number)),
        1 => any::<u64>().prop_map(|number| json!(number)),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map("[a-z]{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// An object of fields that some dialect knows, so that most pass the first check.
fn request() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((prop::sample::select(KEYS.to_vec()), value()), 0..8).prop_map(|fields| {
        let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
        format!(
            "{{\"model\":\"double\",{}\"x\":0}}",
            fields.iter().map(|f| format!("{f},")).collect::<String>()
        )
        .into_bytes()
    })
}

/// The same, truncated or with bytes changed.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    (
        request(),
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(mut body, changes, end)| {
            for (at, byte) in changes {
                let at = at.index(body.len());
                body[at] = byte;
            }
            body.truncate(end.index(body.len()) + 1);
            body
        })
}

fn check(body: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let router = router();
        for path in PATHS {
            let reply = post(&router, path, body.to_vec()).await;
            let status = reply.status.as_u16();
            assert!(
                matches!(status, 200 | 400 | 404 | 405 | 413 | 422 | 424 | 501),
                "{path}: {status} {}",
                reply.text
            );
            if status == 200 {
                let whole = reply.header("content-type") != Some("application/x-ndjson");
                assert!(!whole || !reply.json().is_null());
                continue;
            }
            let error = reply.json()["error"].clone();
            let shaped = match path {
                "/v1/embeddings" | "/embeddings" => error["message"].is_string() && error["type"].is_string(),
                "/embed/plan" | "/route" | "/nothing" => {
                    error["code"].is_string() && error["message"].is_string()
                }
                _ => error.is_string(),
            };
            assert!(shaped, "{path}: {}", reply.text);
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&body);
    }

    #[test]
    fn any_fields(body in request()) {
        check(&body);
    }

    #[test]
    fn any_damage(body in damaged()) {
        check(&body);
    }
}
