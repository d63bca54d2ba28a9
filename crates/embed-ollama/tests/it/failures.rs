//! Every row of the retry table, in the profiles that it names.
//!
//! The cases are written down from the specification, not from the client's table.

use std::collections::HashSet;
use std::fs;
use std::iter::repeat_n;
use std::path::Path;
use std::time::Duration;

use embed_core::{Embedder, EmbedderExt, ErrorKind, Retry};
use embed_testkit::VirtualTime;
use embed_testkit::ollama::{Fault, OllamaDouble, RowsFault};

use crate::{config, connect, field, request, rows_are_right, texts};

const A_TO_D: &[&str] = &["0.3.0", "0.3.5", "0.3.6", "0.5.4", "0.6.0"];
const E_TO_G: &[&str] = &["0.6.1", "0.9.3", "0.11.11", "0.12.11", "0.13.2"];
const H_TO_J: &[&str] = &["0.13.3", "0.17.7", "0.18.0", "0.30.0", "0.99.0"];
const ALL: &[&str] = &["0.3.0", "0.3.5", "0.5.4", "0.9.3", "0.11.11", "0.13.2", "0.13.5", "0.20.0", "0.32.0"];

struct Case {
    /// Rules of the client's table that it goes through.
    rule: &'static str,
    versions: &'static [&'static str],
    fault: Fault,
    kind: ErrorKind,
    /// Requests for one text, the first one included, when all of them fail.
    requests: usize,
}

fn case(
    rule: &'static str,
    versions: &'static [&'static str],
    fault: Fault,
    kind: ErrorKind,
    requests: usize,
) -> Case {
    Case { rule, versions, fault, kind, requests }
}

fn said(status: u16, text: &str) -> Fault {
    Fault::Error(status, text.to_owned())
}

fn body(status: u16, body: &str, content_type: &'static str) -> Fault {
    Fault::Answer { status, body: body.to_owned(), content_type, retry_after: None }
}

fn cases() -> Vec<Case> {
    use ErrorKind::{
        Config, DimensionMismatch, InputTooLong, InvalidInput, ModelNotFound, Overloaded, Protocol,
    };
    use ErrorKind::{RateLimited, Timeout, Unauthorized, Unavailable};
    let crash = "do embedding request: Post \"http://127.0.0.1:40000/embedding\": EOF";
    let mut cases = vec![
        // The connection.
        case("broken", ALL, Fault::Cut(0), Unavailable, 3),
        case("broken", ALL, Fault::Cut(100), Unavailable, 3),
        // Once more, with a longer limit.
        case("silence", ALL, Fault::Silence, Timeout, 2),
        // 200 with wrong rows: once, then it fails.
        case("rows", ALL, Fault::Rows(RowsFault::Null(0)), Protocol, 2),
        case("rows", ALL, Fault::Rows(RowsFault::NotFinite(0)), Protocol, 2),
        case("rows", ALL, Fault::Rows(RowsFault::Zero(0)), Protocol, 2),
        case("rows", ALL, Fault::Rows(RowsFault::Long(0)), Protocol, 2),
        case("rows", ALL, Fault::Rows(RowsFault::Extra), Protocol, 2),
        case("row-width", ALL, Fault::Rows(RowsFault::Narrow(0)), DimensionMismatch, 2),
        case("no-rows", ALL, Fault::Rows(RowsFault::None), Protocol, 1),
        // 400.
        case("our-body-cut", ALL, said(400, "unexpected EOF"), Protocol, 1),
        case("cancelled", ALL, said(400, "context canceled"), Unavailable, 2),
        case("other-400", ALL, said(400, "invalid input type"), Protocol, 1),
        case("nan", H_TO_J, said(400, "embedding contains NaN or Inf values"), Protocol, 1),
        case("empty-text", H_TO_J, said(400, "Input content cannot be empty"), InvalidInput, 1),
        // 401 to 429.
        case("no-credentials", ALL, said(401, "unauthorized"), Unauthorized, 1),
        case("no-credentials", ALL, body(403, "", "text/plain"), Unauthorized, 1),
        case("no-credentials", ALL, body(407, "", "text/plain"), Unauthorized, 1),
        case("no-model", ALL, said(404, "model \"x\" not found, try pulling it first"), ModelNotFound, 1),
        case("no-route", ALL, body(404, "404 page not found", "text/plain"), Config, 1),
        case("no-route", ALL, body(405, "405 method not allowed", "text/plain"), Config, 1),
        case("too-early", ALL, body(408, "", "text/plain"), Unavailable, 3),
        case("too-early", ALL, body(425, "", "text/plain"), Unavailable, 3),
        case("too-often", ALL, said(429, "slow down"), RateLimited, 3),
        case("too-large", ALL, body(413, "", "text/plain"), InputTooLong, 1),
        case("cancelled", ALL, said(499, "request canceled"), Unavailable, 2),
        // 500.
        case("crash-hidden", A_TO_D, body(500, "{\"error\":{}}", "application/json"), Unavailable, 3),
        case("crash-hidden", A_TO_D, said(500, "failed to generate embedding"), Unavailable, 3),
        case("crash-500", ALL, said(500, crash), Unavailable, 3),
        case(
            "crash-500",
            A_TO_D,
            said(500, "do encode request: Post \"http://127.0.0.1:1/tokenize\": EOF"),
            Unavailable,
            3,
        ),
        case("slot", ALL, said(500, "could not find an available sequence"), Overloaded, 3),
        case("slot", ALL, said(500, "Failed to load cache: x"), Overloaded, 3),
        case("slot", ALL, said(500, "Failed to acquire semaphore: x"), Overloaded, 3),
        case(
            "load",
            ALL,
            said(500, "timed out waiting for llama runner to start - progress 0.00 - "),
            Unavailable,
            3,
        ),
        case("load", ALL, said(500, "llama runner process has terminated: exit status 2"), Unavailable, 3),
        case("load", ALL, said(500, "error starting runner: no such file"), Unavailable, 3),
        case(
            "memory",
            ALL,
            said(500, "model requires more system memory (9 GiB) than is available (1 GiB)"),
            Overloaded,
            3,
        ),
        case(
            "memory",
            ALL,
            said(500, "llama runner process has terminated: cudaMalloc failed: out of memory"),
            Overloaded,
            3,
        ),
        case(
            "nan",
            E_TO_G,
            said(500, "failed to encode response: json: unsupported value: NaN"),
            Protocol,
            1,
        ),
        case("option", ALL, said(500, "option \"num_ctx\" must be of type integer"), Config, 1),
        case(
            "empty-text",
            E_TO_G,
            said(500, "Failed to create new sequence: no input provided"),
            InvalidInput,
            1,
        ),
        case(
            "bad-name",
            ALL,
            said(500, "unqualified name: registry.ollama.ai/library/!MISSING!:latest"),
            Config,
            1,
        ),
        case("bad-name", ALL, said(500, "invalid model path"), Config, 1),
        case("cannot-embed", ALL, said(500, "this model does not support embeddings"), Config, 1),
        case(
            "incompatible",
            ALL,
            said(500, "error loading model: this model may be incompatible with your version of Ollama"),
            Config,
            1,
        ),
        case("too-long", ALL, said(500, "the input length exceeds the context length"), InputTooLong, 1),
        case("empty-500", ALL, body(500, "", "text/plain"), Unavailable, 2),
        case("other-500", ALL, said(500, "something new"), Unavailable, 2),
        // 501 to 504.
        case("cannot-embed", H_TO_J, said(501, "this model does not support embeddings"), Config, 1),
        case("501", H_TO_J, said(501, "not implemented"), Config, 1),
        case("gateway", ALL, body(502, "<html>bad gateway</html>", "text/html"), Unavailable, 3),
        case("gateway", ALL, body(504, "", "text/html"), Unavailable, 3),
        case(
            "busy",
            ALL,
            said(503, "server busy, please try again.  maximum pending requests exceeded"),
            Overloaded,
            3,
        ),
        // Not Ollama.
        case("redirect", ALL, Fault::Redirect("/api/embed".into()), Config, 1),
        case("not-ollama", ALL, body(200, "<html>please log in</html>", "text/html"), Protocol, 1),
    ];
    for text in [
        "input length exceeds maximum context length",
        "input exceeds maximum context length",
        "input after truncation exceeds maximum context length",
        "the input length exceeds the context length",
        "input exceeds maximum context length and cannot be truncated further",
    ] {
        cases.push(case("too-long", ALL, said(400, text), InputTooLong, 1));
    }
    for text in [
        crash,
        "do embedding request: Post \"http://127.0.0.1:1/v1/embeddings\": EOF",
        "Post \"http://127.0.0.1:1/tokenize\": dial tcp 127.0.0.1:1: connect: connection refused",
        "read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer",
        "wsarecv: An existing connection was forcibly closed by the remote host.",
        "connectex: No connection could be made because the target machine actively refused it.",
        "unexpected server status: llm server loading model",
        "health resp: Get \"http://127.0.0.1:1/health\": x",
        "llama runner process no longer running: 2 x",
        "server not responding",
        "no slots available after 10 retries",
        "llama-server error: x",
    ] {
        cases.push(case("crash-400", H_TO_J, said(400, text), Unavailable, 3));
    }
    cases
}

#[tokio::test(start_paused = true)]
async fn every_row_of_the_retry_table() {
    for case in cases() {
        for version in case.versions {
            let double = OllamaDouble::start(version).await;
            let client = connect(config(&double)).await;
            double.forget();
            double.fail(repeat_n(case.fault.clone(), 20));
            let name = format!("{} on {version}, {:?}", case.rule, case.fault);

            let error = client.encode_query("a text that fails").await.unwrap_err();
            assert_eq!(error.kind(), case.kind, "{name}: {error:?}");
            assert_eq!(field(&error, "rule").as_deref(), Some(case.rule), "{name}: {error:?}");
            assert_eq!(double.requests_for("/api/embed").len(), case.requests, "{name}");
            let expected = if case.requests == 1 { Retry::Permanent } else { Retry::Exhausted };
            assert_eq!(error.retry(), expected, "{name}");
            assert!(!format!("{error:?}").contains("a text that fails"), "{name}");

            // What may pass does, when it passes.
            double.heal();
            tokio::time::sleep(Duration::from_secs(120)).await;
            client.encode_query("another text").await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            if case.requests > 1 {
                double.fail([case.fault.clone()]);
                client.encode_query("a third text").await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            }
        }
    }
}

/// No rule of the client's table, which the page of the docs shows, is without a case. Those of the connection are in
/// `bad_input`.
#[test]
fn every_rule_has_a_case() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ollama-failures.md");
    let page = fs::read_to_string(page).unwrap();
    let rules: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(!rules.is_empty());
    let tested: HashSet<_> = cases().iter().map(|case| case.rule).collect();
    // And those of `heals` and `limits`.
    let elsewhere = ["refused", "no-address", "tls", "left-out", "too-much"];
    let untested: Vec<_> =
        rules.iter().filter(|rule| !tested.contains(*rule) && !elsewhere.contains(*rule)).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[tokio::test(start_paused = true)]
async fn pauses_are_one_to_ten_seconds_and_grow() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(config(&double)).await;
    double.fail(repeat_n(said(429, "slow down"), 20));
    let time = VirtualTime::start().await;
    client.encode_query("a text").await.unwrap_err();
    let took = time.passed();
    // 1 to 2 s and 2 to 4 s.
    assert!((Duration::from_secs(3)..Duration::from_secs(7)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_respected() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(config(&double)).await;
    let asks = |seconds| Fault::Answer {
        status: 429,
        body: "{}".into(),
        content_type: "application/json",
        retry_after: Some(seconds),
    };
    double.fail([asks(17)]);
    let time = VirtualTime::start().await;
    client.encode_query("a text").await.unwrap();
    assert!(time.passed() >= Duration::from_secs(17));

    // More patience than the settings allow ends the call, and the caller learns how much.
    double.forget();
    double.fail([asks(3600)]);
    let error = client.encode_query("another text").await.unwrap_err();
    let after = Some(Duration::from_secs(3600));
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RateLimited, Retry::Temporary { after }));
    assert_eq!(double.requests_for("/api/embed").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_bounds_the_pauses_and_keeps_what_is_there() {
    let double = OllamaDouble::start("0.9.3").await;
    let mut config = config(&double);
    config.max_batch_rows = 5;
    let client = connect(config).await;
    double.fail(repeat_n(Fault::None, 1).chain(repeat_n(said(429, "slow down"), 20)));
    let texts = texts(10);
    let time = VirtualTime::start().await;
    let deadline = (time.started() + Duration::from_millis(800)).into_std();
    let response = client.embed(request(&texts).with_deadline(deadline)).await.unwrap();
    assert!(time.passed() <= Duration::from_millis(900));
    let failed: Vec<_> = response.errors().map(|(_, error)| error.kind()).collect();
    assert_eq!(failed, [ErrorKind::Timeout; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_while_the_runner_comes_back_loses_no_row() {
    for version in ["0.5.4", "0.9.3", "0.13.5", "0.30.0"] {
        let double = OllamaDouble::start(version).await;
        let client = connect(config(&double)).await;
        double.fail([Fault::crash(version)]);
        let texts = texts(200);
        let response = client.embed(request(&texts)).await.unwrap();
        rows_are_right(&double, &response, &texts).unwrap();
        assert_eq!(client.stats().retries_crash, 1);
    }
}
