//! Compressed bodies, and bodies in encodings other than UTF-8.

use std::io::Write;

use axum::body::Body;
use axum::http::Request;
use embed_core::Role;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;

use crate::client::{Reply, config, over, post, router, send};
use crate::double::{Double, vector_of};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn encoded(path: &str, encoding: &str, body: Vec<u8>) -> Request<Body> {
    let request =
        Request::post(path).header("content-encoding", encoding).header("content-length", body.len());
    request.body(Body::from(body)).unwrap()
}

async fn ask(encoding: &str, body: Vec<u8>) -> Reply {
    send(&router(), encoded("/v1/embeddings", encoding, body)).await
}

const BODY: &str = r#"{"model":"double","input":"a river"}"#;

#[tokio::test]
async fn compressed_bodies_are_decoded_in_every_dialect() {
    let body = BODY.as_bytes();
    let halves = [gzip(&body[..10]), gzip(&body[10..])].concat();
    for (encoding, body) in [
        ("gzip", gzip(body)),
        ("GZIP", gzip(body)),
        ("x-gzip", gzip(body)),
        ("identity, gzip", gzip(body)),
        ("deflate", deflate(body)),
        ("identity", body.to_vec()),
        ("", body.to_vec()),
        ("gzip", halves),
    ] {
        let answer = ask(encoding, body).await.expect(200).json();
        let vector: Vec<f32> = serde_json::from_value(answer["data"][0]["embedding"].clone()).unwrap();
        assert_eq!(vector, vector_of(Role::Document, "a river"), "{encoding}");
    }
    for (path, body) in [
        ("/api/embed", BODY),
        ("/embed", r#"{"inputs":"a river"}"#),
        ("/tokenize", r#"{"inputs":"a river"}"#),
        ("/api/show", r#"{"model":"double"}"#),
    ] {
        send(&router(), encoded(path, "gzip", gzip(body.as_bytes()))).await.expect(200);
    }
}

#[tokio::test]
async fn other_encodings_are_refused_with_a_list_of_the_supported_ones() {
    for encoding in ["br", "zstd", "compress", "gzip, gzip", "gzip, deflate"] {
        let reply = ask(encoding, gzip(BODY.as_bytes())).await.expect(415);
        assert_eq!(reply.header("accept-encoding"), Some("gzip, deflate"), "{encoding}");
        assert!(reply.text.contains("compressed"), "{}", reply.text);
    }
}

#[tokio::test]
async fn a_wrong_content_encoding_is_reported() {
    let whole = gzip(BODY.as_bytes());
    let mut damaged = whole.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    for body in [BODY.as_bytes().to_vec(), whole[..whole.len() - 12].to_vec(), damaged] {
        let error = ask("gzip", body).await.expect(400);
        assert!(error.text.contains("content-encoding"), "{}", error.text);
    }
    let error = post(&router(), "/v1/embeddings", whole).await.expect(400);
    assert!(error.text.contains("`content-encoding: gzip`"), "{}", error.text);
}

/// The size limit applies to the decoded body.
#[tokio::test]
async fn a_small_body_that_becomes_a_large_one_is_too_large() {
    let mut config = config();
    config.limits.body_bytes = 1 << 20;
    let router = over(Double::new(), config);
    let bomb = gzip(&vec![b' '; 300 << 20]);
    assert!(bomb.len() < 1 << 20);
    let error = send(&router, encoded("/v1/embeddings", "gzip", bomb)).await.expect(413);
    assert!(error.text.contains("1048576 bytes"), "{}", error.text);
    let fits = json!({ "model": "double", "input": "a river", "x": "y".repeat(1 << 19) }).to_string();
    send(&router, encoded("/v1/embeddings", "gzip", gzip(fits.as_bytes()))).await.expect(200);
}

#[tokio::test]
async fn bodies_in_other_encodings_are_named() {
    let utf16 = |from: &str| from.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let latin = [br#"{"model":"double","input":"caf"#, &[0xe9][..], br#""}"#].concat();
    for (body, words) in [
        (utf16(BODY), "UTF-16"),
        (utf16(&format!("\u{feff}{BODY}")), "UTF-16"),
        (BODY.encode_utf16().flat_map(u16::to_be_bytes).collect(), "UTF-16"),
        (latin, "look at byte 30; text in Latin-1"),
    ] {
        for path in ["/v1/embeddings", "/api/embed"] {
            let error = post(&router(), path, body.clone()).await.expect(400);
            assert!(error.text.contains(words), "{}", error.text);
        }
        post(&router(), "/embed", body).await.expect(422);
    }
    // A byte order mark and a charset in the header change nothing.
    for kind in ["application/json; charset=utf-8", "application/json;charset=ISO-8859-1", "text/plain"] {
        let body = format!("\u{feff}{BODY}");
        let request =
            Request::post("/v1/embeddings").header("content-type", kind).body(Body::from(body)).unwrap();
        send(&router(), request).await.expect(200);
    }
}
