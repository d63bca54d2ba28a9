//! Hosts and origins that are allowed if no key is required, compared with a real Ollama 0.9.3.

use std::sync::Arc;

use embed_testkit::ollama::rig;
use tokio::net::TcpStream;

use crate::client::{Server, config, talk};
use crate::double::Double;

/// Whether the gateway answers as Ollama does, or why it doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Alike,
    Otherwise(&'static str),
}

use Beside::{Alike, Otherwise};

const NO_SITE: Beside = Otherwise("Ollama doesn't look at where a request without an origin comes from");

/// The header lines, the status, and whether it is Ollama's.
const CASES: &[(&str, u16, Beside)] = &[
    ("Host: localhost", 200, Alike),
    ("Host: LOCALHOST:80", 200, Alike),
    ("Host: localhost:abc", 200, Alike),
    ("Host: a.localhost", 200, Alike),
    ("Host: 127.0.0.1:11434", 200, Alike),
    ("Host: 127.1", 403, Alike),
    ("Host: [::1]:80", 200, Alike),
    ("Host: ::1", 200, Alike),
    ("Host: [::1]", 200, Otherwise("so browsers write it for port 80")),
    ("Host: 0.0.0.0", 200, Alike),
    ("Host: 10.1.2.3", 200, Alike),
    ("Host: 172.16.0.1", 200, Alike),
    ("Host: 172.32.0.1", 403, Alike),
    ("Host: 192.168.1.1:80", 200, Alike),
    ("Host: 8.8.8.8", 403, Alike),
    ("Host: [::ffff:10.0.0.1]:1", 200, Alike),
    ("Host: [fd00::1]:80", 200, Alike),
    ("Host: [2001:db8::1]:80", 403, Alike),
    ("Host: host.docker.internal", 200, Alike),
    ("Host: host.docker.internal:8080", 200, Alike),
    ("Host: printer.local", 200, Alike),
    ("Host: local", 403, Alike),
    ("Host: localhost.", 403, Alike),
    ("Host: localhost.evil.example", 403, Alike),
    ("Host: 127.0.0.1.evil.example", 403, Alike),
    ("Host: evil.example", 403, Alike),
    ("Host: a:b:c", 403, Alike),
    ("Host: %", 403, Alike),
    ("Host:", 200, Alike),
    ("X-No-Host: 1", 400, Alike),
    ("Host: localhost\r\nHost: localhost", 400, Alike),
    ("Host: localhost\r\nHost: evil.example", 400, Alike),
    ("Host: localhost\r\nOrigin: http://localhost", 200, Alike),
    ("Host: localhost\r\nOrigin: http://localhost:3000", 200, Alike),
    ("Host: localhost\r\nOrigin: https://127.0.0.1:5173", 200, Alike),
    ("Host: localhost\r\nOrigin: http://0.0.0.0", 200, Alike),
    ("Host: localhost\r\nOrigin: app://obsidian.md", 200, Alike),
    ("Host: localhost\r\nOrigin: file://", 200, Alike),
    ("Host: localhost\r\nOrigin: tauri://localhost", 200, Alike),
    ("Host: localhost\r\nOrigin: vscode-webview://abc", 200, Alike),
    ("Host: localhost\r\nOrigin: vscode-file://vscode-app", 200, Alike),
    ("Host: localhost\r\nOrigin: chrome-extension://abc", 403, Alike),
    ("Host: localhost\r\nOrigin: null", 403, Alike),
    ("Host: localhost\r\nOrigin:", 200, Alike),
    ("Host: localhost\r\nOrigin: http://my.local", 403, Alike),
    ("Host: localhost\r\nOrigin: http://evil.localhost", 403, Alike),
    ("Host: localhost\r\nOrigin: https://evil.example", 403, Alike),
    ("Host: localhost\r\nOrigin: http://localhost.evil.example", 403, Alike),
    ("Host: my.internal:99\r\nOrigin: http://my.internal:99", 200, Alike),
    ("Host: my.internal:99\r\nOrigin: http://my.internal", 403, Alike),
    ("Host: evil.example\r\nOrigin: http://evil.example", 403, Alike),
    ("Host: localhost\r\nSec-Fetch-Site: none", 200, Alike),
    ("Host: localhost\r\nSec-Fetch-Site: same-site\r\nSec-Fetch-Mode: no-cors", 200, Alike),
    ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors", 403, NO_SITE),
    ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate", 200, Alike),
    ("Host: localhost\r\nSec-Fetch-Site: cross-site\r\nOrigin: https://evil.example", 403, Alike),
    (
        "Host: my.internal\r\nSec-Fetch-Site: same-origin\r\nOrigin: https://embed.example.org",
        200,
        Otherwise("behind a proxy, the gateway's own page is known only by what its browser says"),
    ),
];

async fn status(address: &str, request: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let answer = talk(&mut stream, request.as_bytes()).await;
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("{request}: {answer:?}")).parse().unwrap()
}

fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\n{lines}\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn hosts_and_origins_are_allowed_as_by_ollama() {
    let server = Server::start(Arc::new(Double::new()), config()).await;
    let address = server.address.to_string();
    let ollama = rig::require("0.9.3");
    let ollama = ollama.as_ref().map(|ollama| ollama.url().trim_start_matches("http://"));
    for &(lines, expected, beside) in CASES {
        let request = get("/api/version", lines);
        assert_eq!(status(&address, &request).await, expected, "{lines:?}");
        if let Some(ollama) = ollama {
            let theirs = status(ollama, &request).await;
            assert_eq!(theirs == expected, beside == Alike, "Ollama answers {theirs}: {lines:?}");
        }
        // The same holds for a page's simple request, which needs no preflight.
        let post = format!(
            "POST /api/show HTTP/1.1\r\n{lines}\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\
             Connection: close\r\n\r\n{{}}"
        );
        let simple = status(&address, &post).await;
        let navigates = lines.contains("navigate");
        // A POST without an origin isn't a navigation.
        let refused = if navigates { 403 } else { expected };
        assert_eq!(simple, if refused == 200 { 400 } else { refused }, "{lines:?}");
    }
}

#[tokio::test]
async fn an_address_in_the_first_line_is_the_host() {
    let server = Server::start(Arc::new(Double::new()), config()).await;
    let address = server.address.to_string();
    let ollama = rig::require("0.9.3");
    let ollama = ollama.as_ref().map(|ollama| ollama.url().trim_start_matches("http://"));
    for (target, host, expected) in [
        ("http://localhost/api/version", "evil.example", 200),
        ("http://evil.example/api/version", "localhost", 403),
    ] {
        let request = get(target, &format!("Host: {host}"));
        for address in [Some(&*address), ollama].into_iter().flatten() {
            assert_eq!(status(address, &request).await, expected, "{target} at {address}");
        }
    }
    // HTTP/1.0 has no Host header.
    for address in [Some(&*address), ollama].into_iter().flatten() {
        assert_eq!(status(address, "GET /api/version HTTP/1.0\r\n\r\n").await, 200, "{address}");
    }
}

#[tokio::test]
async fn a_preflight_of_a_stranger_is_refused_and_one_of_this_machine_is_not() {
    let server = Server::start(Arc::new(Double::new()), config()).await;
    let address = server.address.to_string();
    let ollama = rig::require("0.9.3");
    let ollama = ollama.as_ref().map(|ollama| ollama.url().trim_start_matches("http://"));
    for (origin, let_in) in
        [("https://evil.example", false), ("null", false), ("http://localhost:3000", true)]
    {
        let request = format!(
            "OPTIONS /api/embed HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n"
        );
        for address in [Some(&*address), ollama].into_iter().flatten() {
            let status = status(address, &request).await;
            assert_eq!(status / 100 == 2, let_in, "{origin} at {address}: {status}");
        }
    }
}
