//! The same requests to a real Ollama 0.9.3 and to the gateway before it: same statuses, same fields, same words of
//! errors, same vectors; and where the gateway chose to answer otherwise, how.

use embed_core::vector;
use embed_testkit::data::udhr_in;
use embed_testkit::ollama::rig;
use serde_json::{Map, Value, json};

use crate::http::{Reply, ask, request};
use crate::serving::{Serving, has_e5};
use crate::tools::{ollama_command, output_of, run};

const EMBED: &str = "/api/embed";
const EMBEDDINGS: &str = "/api/embeddings";

/// Bodies of `POST` that are answered alike.
const ALIKE: &[(&str, &str)] = &[
    (EMBED, r#"{"model":"all-minilm","input":"a river"}"#),
    (EMBED, r#"{"model":"all-minilm:latest","input":["a river","a mountain","a river"]}"#),
    (EMBED, r#"{"model":"ALL-MiniLM","input":"a river"}"#),
    (EMBED, r#"{"MODEL":"all-minilm","Input":"a river","unheard_of":1}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river"} what follows isn't read"#),
    // Half of a pair, as it is left where a string is cut, is a character that stands for any.
    (EMBED, r#"{"model":"all-minilm","input":"a \ud800 river"}"#),
    (EMBED, r#"{"model":"all-minilm","input":"cut \ud83d"}"#),
    (EMBED, r#"{"model":"all-minilm","input":"\ude00\ud83d\ude00"}"#),
    // Nothing to embed loads the model.
    (EMBED, r#"{"model":"all-minilm","input":""}"#),
    (EMBED, r#"{"model":"all-minilm","input":[]}"#),
    (EMBED, r#"{"model":"all-minilm","input":null}"#),
    (EMBED, r#"{"model":"all-minilm"}"#),
    (EMBED, r#"{"model":"all-minilm","input":"LONG","truncate":false}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river","truncate":null}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river","truncate":"no"}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river","dimensions":100000}"#),
    (EMBED, r#"{"model":"nobody","input":"a river"}"#),
    (EMBED, r#"{"model":"nobody","input":""}"#),
    (EMBED, r#"{"model":"nobody","input":5}"#),
    (EMBED, r#"{"model":"","input":"a river"}"#),
    (EMBED, r#"{"input":"a river"}"#),
    (EMBED, r#"{"model":5,"input":"a river"}"#),
    (EMBED, r#"{"model":"all-minilm","input":5}"#),
    (EMBED, r#"{"model":"all-minilm","input":{}}"#),
    (EMBED, r#"{"model":"all-minilm","input":true}"#),
    (EMBED, r#"{"model":"all-minilm","input":["a river",5]}"#),
    (EMBED, r#"{"model":"all-minilm","input":[[1,2]]}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river","keep_alive":"5m"}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river","keep_alive":300}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river","keep_alive":-1}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river","keep_alive":null}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river","keep_alive":"10"}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river","keep_alive":"PT15M"}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river","keep_alive":true}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river","keep_alive":[1]}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river","options":{}}"#),
    (EMBED, r#"{"model":"all-minilm","input":"a river","options":5}"#),
    (
        EMBED,
        r#"{"model":"all-minilm","input":"a river","options":{"num_thread":1.7,"seed":null,"stop":["a"]}}"#,
    ),
    (EMBED, r#"{"model":"all-minilm","input":"a river","options":{"low_vram":"x","TOP_K":"8"}}"#),
    (EMBED, r#"{"model":"nobody","input":"a river","options":{"num_ctx":"8"}}"#),
    (EMBED, r#"{"model":"all-minilm","input":5,"options":{"num_ctx":"8"}}"#),
    (EMBED, ""),
    (EMBED, " "),
    (EMBED, "{"),
    (EMBED, r#"{"model":"#),
    (EMBED, "[]"),
    (EMBED, "5"),
    (EMBED, r#""a""#),
    (EMBED, "null"),
    (EMBEDDINGS, r#"{"model":"all-minilm","prompt":"a river"}"#),
    (EMBEDDINGS, r#"{"model":"all-minilm","prompt":""}"#),
    (EMBEDDINGS, r#"{"model":"all-minilm","input":"a river"}"#),
    (EMBEDDINGS, r#"{"model":"all-minilm","prompt":["a river"]}"#),
    (EMBEDDINGS, r#"{"model":"nobody","prompt":"a river"}"#),
    (EMBEDDINGS, r#"{"prompt":"a river"}"#),
    (EMBEDDINGS, ""),
    ("/api/show", r#"{"model":"nobody"}"#),
    ("/api/show", r#"{"model":5}"#),
    ("/api/show", "{}"),
    ("/api/show", ""),
    ("/api/tags", ""),
    ("/api/version", ""),
    ("/api/ps", ""),
    ("/api/nothing", ""),
    ("/api/pull", r#"{"model":""}"#),
    ("/api/pull", ""),
    ("/api/generate", r#"{"model":"all-minilm","prompt":"a river"}"#),
    ("/api/generate", r#"{"model":"nobody"}"#),
    ("/api/generate", r#"{"model":"nobody","keep_alive":0}"#),
    ("/api/generate", ""),
    ("/api/chat", r#"{"model":"all-minilm","messages":[]}"#),
    ("/api/chat", r#"{"model":"nobody","messages":[]}"#),
    ("/api/embed/", r#"{"model":"all-minilm","input":"a river"}"#),
    ("/v1/embeddings/", "{}"),
    ("/api/tags/", ""),
];

/// Other methods and paths that are answered alike, without a body.
const ASKED_ALIKE: &[(&str, &str)] = &[
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/api/tags"),
    ("HEAD", "/api/tags"),
    ("GET", "/api/version"),
    ("HEAD", "/api/version"),
    ("GET", EMBED),
    ("PUT", EMBED),
    ("DELETE", EMBED),
    ("OPTIONS", EMBED),
    ("GET", "/api/embed/"),
    ("PUT", "/api/embed/"),
    ("DELETE", "/api/embed/"),
    ("OPTIONS", "/api/embed/"),
    ("GET", "/api/tags/"),
    ("GET", "/api/tags/?a=b&c=d"),
    ("HEAD", "/api/tags/"),
    ("GET", "/api/version/"),
    ("GET", "/v1/models/"),
    ("GET", "/api/"),
    ("GET", "/api/show"),
    ("GET", "/api/nothing"),
    ("GET", "/api"),
];

/// Options whose values are of the wrong kind.
const WRONG_OPTIONS: &[&str] = &[
    r#""num_ctx":"8""#,
    r#""num_keep":true"#,
    r#""top_k":{}"#,
    r#""temperature":"hot""#,
    r#""top_p":[]"#,
    r#""repeat_penalty":"x""#,
    r#""use_mmap":1"#,
    r#""stop":"a""#,
    r#""stop":["a",1]"#,
];

/// What is answered otherwise: statuses of Ollama and of the gateway, and why.
const OTHERWISE: &[(&str, &str, u16, u16, &str)] = &[
    (EMBED, r#"{"model":"all-minilm","input":["a river",""]}"#, 200, 400, "an empty text has no meaning"),
    (EMBED, r#"{"model":"all-minilm","input":"  "}"#, 200, 400, "nor has a blank one"),
    (
        EMBED,
        r#"{"model":"all-minilm","input":"a river","dimensions":"a"}"#,
        200,
        400,
        "since 0.11.11 it is read",
    ),
];

#[tokio::test]
async fn answers_are_those_of_a_real_server() {
    let Some(server) = rig::require("0.9.3") else { return };
    let serving = Serving::start(&["--service", "ollama"], &[("TMWS_OLLAMA_API_BASE", server.url())]);
    let both = Both { real: server.url(), gateway: serving.url() };

    for (path, body) in ALIKE {
        both.alike("POST", path, body).await;
    }
    for (method, path) in ASKED_ALIKE {
        both.alike(method, path, "").await;
    }
    for (path, body, real, gateway, why) in OTHERWISE {
        let (answer, ours) = both.ask("POST", path, body).await;
        assert_eq!((answer.status.as_u16(), ours.status.as_u16()), (*real, *gateway), "{body}: {why}");
        assert!(ours.status == 200 || ours.json()["error"].is_string(), "{body}: {}", ours.text());
    }
    differ_as_they_should(&both).await;
}

/// What is neither the same nor of another status.
async fn differ_as_they_should(both: &Both<'_>) {
    // Go's word for a syntax error is a piece of what the caller wrote.
    let (real, ours) = both.ask("POST", EMBED, "nonsense").await;
    assert_eq!((real.status, shape(&real.json())), (ours.status, shape(&ours.json())));

    // The words are the same, but a caller's mistake is none of the server's.
    for option in WRONG_OPTIONS {
        for (path, text) in [(EMBED, "input"), (EMBEDDINGS, "prompt")] {
            let body = format!(r#"{{"model":"all-minilm","{text}":"a river","options":{{{option}}}}}"#);
            let (real, ours) = both.ask("POST", path, &body).await;
            assert_eq!((real.status.as_u16(), ours.status.as_u16()), (500, 400), "{body}");
            assert_eq!(ours.json(), real.json(), "{body}");
        }
    }

    // Since 0.11.11 vectors are cut; before, the number was ignored.
    let (real, ours) =
        both.ask("POST", EMBED, r#"{"model":"all-minilm","input":"a river","dimensions":64}"#).await;
    let cut = vector::truncate_dimensions(&vectors(&real.json())[0], 64).unwrap();
    assert!(vector::cosine(&cut, &vectors(&ours.json())[0]).unwrap() >= 0.9999);

    // What is behind the gateway cuts a text by itself, at a space, where the model is full, and keeps its beginning.
    // A server of this version forgets the two special tokens when it cuts, and its runner then drops the first two
    // tokens of the text. So the gateway's answer is the real one to the piece that is kept.
    let (real, ours) = both.ask("POST", EMBED, r#"{"model":"all-minilm","input":"LONG"}"#).await;
    assert_eq!((ours.status, shape(&ours.json())), (real.status, shape(&real.json())));
    let (kept, ours_long) = (tokens(&ours.json()), &vectors(&ours.json())[0]);
    assert!((505..=512).contains(&kept), "{kept} tokens");
    assert!(vector::cosine(ours_long, &vectors(&real.json())[0]).unwrap() >= 0.997);
    let text = udhr_in("en").join(" ");
    let mut pieces =
        text.match_indices(' ').map(|(at, _)| &text[..at]).rev().filter(|piece| piece.len() < 3000);
    let same = loop {
        let piece = pieces.next().expect("a piece of the text has the gateway's vector");
        let asked = json!({ "model": "all-minilm", "input": piece, "truncate": false }).to_string();
        let real = ask(both.real, request("POST", EMBED, asked)).await.unwrap();
        // Those that its runner would cut are refused, or have a count above what is left without special tokens.
        if real.status == 200 && tokens(&real.json()) <= 510 {
            break vector::cosine(ours_long, &vectors(&real.json())[0]).unwrap();
        }
    };
    assert!(same >= 0.9999, "{same}");
    let told = r#"{"model":"all-minilm","input":"LONG","truncate":true}"#;
    let again = ask(both.gateway, request("POST", EMBED, with_long(told))).await.unwrap();
    assert_eq!(again.json()["embeddings"], ours.json()["embeddings"]);

    // The older path keeps the end of a text.
    let (head, cut) = (vectors(&ours.json()), r#"{"model":"all-minilm","prompt":"LONG"}"#);
    let (real, ours) = both.ask("POST", EMBEDDINGS, cut).await;
    assert_eq!((real.status.as_u16(), ours.status.as_u16()), (200, 200));
    let (real, ours) = (vectors(&real.json()), vectors(&ours.json()));
    let (same, other) =
        (vector::cosine(&ours[0], &real[0]).unwrap(), vector::cosine(&head[0], &real[0]).unwrap());
    assert!(same >= 0.99 && same > other, "cosine {same} to its end, {other} to its beginning");

    // The gateway tells of a model what clients ask for, and that is the same.
    for body in [r#"{"model":"all-minilm"}"#, r#"{"name":"all-minilm:latest"}"#] {
        let (real, ours) = both.ask("POST", "/api/show", body).await;
        assert_eq!((real.status, ours.status.as_u16()), (ours.status, 200));
        let (real, ours) = (real.json(), ours.json());
        assert_eq!(ours["capabilities"], real["capabilities"]);
        for (field, value) in ours["model_info"].as_object().unwrap() {
            assert_eq!(value, &real["model_info"][field], "{field}");
        }
        let fields = |value: &Value| shape(value).as_object().cloned().unwrap();
        let (mut known, ours) = (fields(&real), fields(&ours));
        for left_out in ["model_info", "tensors"] {
            known.remove(left_out);
        }
        assert_eq!(known, ours.into_iter().filter(|(field, _)| field != "model_info").collect::<Map<_, _>>());
    }

    // A field of 0.10.0 is there already.
    let (real, ours) = both.ask("GET", "/api/ps", "").await;
    let mut ours = shape(&ours.json());
    assert_eq!(ours["models"][0].as_object_mut().unwrap().remove("context_length"), Some(json!("number")));
    assert_eq!(ours, shape(&real.json()));
}

/// What people type who have pointed `OLLAMA_HOST` at a gateway.
#[test]
fn the_command_of_ollama_shows_pulls_and_lists_and_is_refused_the_rest() {
    const MODEL: &str = "multilingual-e5-small";
    if !has_e5() {
        return;
    }
    let serving = Serving::start(&["--service", "e5"], &[]);
    let typed = |line: &str| {
        let mut command = ollama_command(serving.url())?;
        command.args(line.split(' '));
        Some(command)
    };
    for (line, said) in [
        (format!("show {MODEL}"), vec!["bert", "117.65M", "512", "384", "Q8_0", "embedding"]),
        (format!("show intfloat/{MODEL}"), vec!["117.65M"]),
        (format!("pull {MODEL}"), vec!["success"]),
        ("list".to_owned(), vec![MODEL, "MB"]),
        ("ps".to_owned(), vec![MODEL]),
        ("--version".to_owned(), vec!["0.9.3"]),
        (format!("stop {MODEL}"), vec![]),
    ] {
        let Some(mut command) = typed(&line) else { return };
        let output = run(&mut command, &line);
        for word in said {
            assert!(output.contains(word), "{line}: no {word} in {output}");
        }
    }
    for (line, said) in [
        (format!("run {MODEL} hello"), "does not support generate"),
        ("show nobody".to_owned(), "model 'nobody' not found"),
        ("pull nobody".to_owned(), "isn't served here"),
        (format!("cp {MODEL} other"), "models are chosen where this gateway is started"),
        (format!("push {MODEL}"), "models are chosen where this gateway is started"),
        (format!("rm {MODEL}"), "models are chosen where this gateway is started"),
    ] {
        let Some(mut command) = typed(&line) else { return };
        let output = output_of(&mut command, &line);
        assert!(output.contains(said) && !output.contains("panic"), "{line}: {output}");
    }
}

struct Both<'a> {
    real: &'a str,
    gateway: &'a str,
}

impl Both<'_> {
    async fn ask(&self, method: &str, path: &str, body: &str) -> (Reply, Reply) {
        let body = with_long(body);
        let [real, gateway] = [self.real, self.gateway].map(|url| {
            let request = request(method, path, body.clone());
            async move { ask(url, request).await.unwrap() }
        });
        (real.await, gateway.await)
    }

    /// Same status, same kind of body, same fields, same words, same vectors.
    async fn alike(&self, method: &str, path: &str, body: &str) {
        let asked = format!("{method} {path} {body}");
        let (real, ours) = self.ask(method, path, body).await;
        assert_eq!(ours.status, real.status, "{asked}: {} instead of {}", ours.text(), real.text());
        for header in ["content-type", "location"] {
            assert_eq!(ours.header(header), real.header(header), "{asked}: {header}");
        }
        if method == "HEAD" || !real.header("content-type").starts_with("application/json") {
            assert_eq!(ours.text(), real.text(), "{asked}");
            return;
        }
        let (real, ours) = (real.json(), ours.json());
        assert_eq!(shape(&ours), shape(&real), "{asked}");
        for exact in ["error", "model"] {
            assert_eq!(ours[exact], real[exact], "{asked}: {exact}");
        }
        // This version leaves the two special tokens of each text out; those before it and since 0.13.3 don't.
        let (ours_read, real_read) = (tokens(&ours), tokens(&real));
        let rows = vectors(&real).len() as u64;
        assert!((real_read..=real_read + 2 * rows).contains(&ours_read), "{asked}: {ours_read}, {real_read}");
        for (index, (ours, real)) in vectors(&ours).iter().zip(vectors(&real)).enumerate() {
            let cosine = vector::cosine(ours, &real).unwrap();
            assert!(cosine >= 0.9999, "{asked}: text {index} has cosine {cosine}");
        }
    }
}

/// The body with a text that is longer than the model reads.
fn with_long(body: &str) -> String {
    body.replace("LONG", &udhr_in("en").join(" "))
}

/// The vectors of an answer of either path.
fn vectors(answer: &Value) -> Vec<Vec<f32>> {
    match &answer["embedding"] {
        Value::Array(numbers) if !numbers.is_empty() => vec![serde_json::from_value(json!(numbers)).unwrap()],
        _ => serde_json::from_value(answer["embeddings"].clone()).unwrap_or_default(),
    }
}

fn tokens(answer: &Value) -> u64 {
    answer["prompt_eval_count"].as_u64().unwrap_or(0)
}

/// Names of fields, kinds of values, and how long lists are.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(values) => values.iter().map(shape).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect::<Map<_, _>>().into()
        }
    }
}
