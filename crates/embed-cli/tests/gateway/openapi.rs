//! Requests made up out of the OpenAPI document, good ones and bad ones.

use std::fs;

use serde_json::json;

use crate::http::get;
use crate::serving::{Serving, has_e5};
use crate::tools::{CLIENTS, run, schemathesis};

/// No answer is a fault of the server's, and each is one that the document describes.
#[tokio::test]
async fn answers_are_as_the_document_says() {
    let (Some(mut command), true) = (schemathesis(), has_e5()) else { return };
    let serving = Serving::start(&["--service", "e5"], &[]);
    let mut document = get(serving.url(), "/openapi.json").await.json();
    // Names that are made up lead no further than to the list of models.
    for request in
        ["OpenAiEmbeddingsRequest", "OllamaEmbedRequest", "OllamaEmbeddingsRequest", "OllamaShowRequest"]
    {
        let model = &mut document["components"]["schemas"][request]["properties"]["model"];
        assert!(model.is_object(), "the document has no {request}");
        model["enum"] = json!(["multilingual-e5-small", "e5:query", "nobody"]);
    }
    let file = serving.file("openapi.json");
    fs::write(&file, document.to_string()).unwrap();

    command.args(["--config-file", &format!("{CLIENTS}/schemathesis.toml"), "run"]).arg(file);
    command.args([
        "--url",
        serving.url(),
        "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=20",
        "--max-time=45",
        "--seed=1",
        "--continue-on-failure",
    ]);
    // It keeps examples of earlier runs where it is called.
    command.current_dir(serving.file(""));
    run(&mut command, "schemathesis");
}
