//! TLS in the process.

use std::sync::Arc;

use embed_core::ErrorKind;
use embed_gateway::{Gateway, TlsConfig};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use crate::client::{Server, config, talk};
use crate::double::Double;

/// Files with a certificate for `localhost`.
fn certificate(folder: &std::path::Path) -> (TlsConfig, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (TlsConfig::new(chain, key), made.cert.der().clone())
}

#[tokio::test]
async fn requests_are_answered_over_tls_and_plain_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let (tls, certificate) = certificate(folder.path());
    let mut server = Server::start(Arc::new(Double::new()), config().with_tls(tls)).await;
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream =
        TlsConnector::from(Arc::new(client)).connect(name, server.connect().await).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let plain = talk(&mut server.connect().await, b"GET /healthz HTTP/1.1\r\n\r\n").await;
    assert!(!plain.contains("200"), "{plain}");
    server.stop();
    server.ended().await;
}

#[tokio::test]
async fn a_file_that_can_not_be_used_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = config().with_tls(TlsConfig::new("no-such-chain.pem", "no-such-key.pem"));
    let error = Gateway::new(Arc::new(Double::new()), config).serve(listener, async {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("no-such-chain.pem"), "{error}");
}

/// Certificates are renewed every few weeks, which must not need a restart.
#[tokio::test]
async fn a_certificate_is_replaced_while_the_gateway_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (tls, old) = certificate(folder.path());
    let config = config().with_tls(tls);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Gateway::new(Arc::new(Double::new()), config.clone()).bind(listener).unwrap();
    let watch = server.watch();
    tokio::spawn(server.run(std::future::pending()));
    let trusted = async |certificate: &CertificateDer<'static>| {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(client)).connect(name, stream).await.is_ok()
    };
    assert!(trusted(&old).await);
    // With a broken file the old certificate stays.
    std::fs::write(folder.path().join("chain.pem"), "half of a fi").unwrap();
    assert_eq!(watch.reload(&config).unwrap_err().kind(), ErrorKind::Config);
    assert!(trusted(&old).await);
    let (_, new) = certificate(folder.path());
    assert!(!trusted(&new).await);
    watch.reload(&config).unwrap();
    assert!(trusted(&new).await && !trusted(&old).await);
}
