//! Signals beside the one that ends the process in peace: settings read again, an end at once, and what a service
//! manager is told.

use std::fs;
use std::os::unix::net::UnixDatagram;

use embed_testkit::ollama::OllamaDouble;
use tempfile::TempDir;

use crate::http::{ask, get, request, until};
use crate::serving::Serving;

const ASK: &str = r#"{"model":"all-minilm","input":"a river"}"#;

async fn status(url: &str, key: &str) -> u16 {
    let mut request = request("GET", "/v1/models", "");
    request.headers_mut().insert("x-api-key", key.parse().unwrap());
    ask(url, request).await.unwrap().status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_log_level_are_read_again() {
    let ollama = OllamaDouble::start("0.9.3").await;
    let folder = TempDir::new().unwrap();
    let (keys, config) = (folder.path().join("keys"), folder.path().join("embed.toml"));
    let settings = |filter: &str| {
        let text = format!("[gateway]\napi_key_file = {keys:?}\n[log]\nfilter = \"{filter}\"\n");
        fs::write(&config, text).unwrap();
    };
    fs::write(&keys, "\u{feff}old\r\n").unwrap();
    settings("info");
    let serving = Serving::start(
        &["--service", "ollama", "--config", config.to_str().unwrap()],
        &[("TMWS_OLLAMA_API_BASE", &*ollama.url())],
    );
    let url = serving.url();
    assert_eq!((status(url, "old").await, status(url, "new").await), (200, 401));

    fs::write(&keys, "# of this month\nnew # the laptop of alice\n").unwrap();
    settings("debug");
    serving.signal("HUP");
    until("the new key holds", async || status(url, "new").await == 200).await;
    assert_eq!(status(url, "old").await, 401);
    // What is only said at debug says whose key it was.
    until("the log level holds", async || {
        status(url, "new").await;
        serving
            .log()
            .iter()
            .any(|event| event["message"] == "answered" && event["key"] == "the laptop of alice")
    })
    .await;

    // What is wrong leaves all as it was, and is said.
    fs::write(&keys, "\n# nothing\n").unwrap();
    serving.signal("HUP");
    until("it says so", async || {
        let error = |event: &serde_json::Value| event["error"].as_str().unwrap_or_default().to_owned();
        serving.log().iter().any(|event| error(event).contains("has none"))
    })
    .await;
    assert_eq!((status(url, "new").await, status(url, "old").await), (200, 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_at_once() {
    let ollama = OllamaDouble::start("0.9.3").await;
    let variables = [
        ("TMWS_OLLAMA_API_BASE", &*ollama.url()),
        ("TMWS_GATEWAY_DRAIN_LIMIT", "3600"),
        ("TMWS_CACHE", "off"),
    ];
    let mut serving = Serving::start(&["--service", "ollama", "--admin-listen", "127.0.0.1:0"], &variables);
    let operators = serving.operators();
    ollama.change(|script| script.wedged = true);
    let url = serving.url().to_owned();
    let waiting = tokio::spawn(async move { ask(&url, request("POST", "/api/embed", ASK)).await });
    until("it waits", async || get(&operators, "/status").await.json()["gateway"]["in_flight"] == 1).await;
    serving.terminate();
    // Operators see the drain, to its end.
    until("it drains", async || get(&operators, "/readyz").await.status == 503).await;
    serving.signal("INT");
    let reply = waiting.await.unwrap().unwrap();
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert_eq!(serving.ended().code(), Some(130));
    let said = |what: &str| {
        serving.log().iter().any(|event| event["message"].as_str().is_some_and(|text| text.contains(what)))
    };
    assert!(said("a second signal"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_is_told() {
    let ollama = OllamaDouble::start("0.9.3").await;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let told = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let variables = [("TMWS_OLLAMA_API_BASE", &*ollama.url()), ("NOTIFY_SOCKET", path.to_str().unwrap())];
    let mut serving = Serving::start(&["--service", "ollama"], &variables);
    assert_eq!(told().trim(), "READY=1");
    serving.signal("HUP");
    let reloading = told();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert_eq!(told().trim(), "READY=1");
    serving.terminate();
    assert_eq!(told().trim(), "STOPPING=1");
    assert_eq!(serving.ended().code(), Some(0));
}
