//! TLS in the process: certificate and key from files, by rustls with ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use embed_core::{Error, ErrorKind, Result};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The files of certificate and key, both in PEM. They are read when serving begins, and by
/// [`GatewayWatch::reload`](crate::GatewayWatch::reload).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsConfig {
    /// The certificate, followed by its chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl TlsConfig {
    /// Certificate and key in these files.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { certificate: certificate.into(), key: key.into() }
    }
}

/// Reads the files, and returns the configuration for handshakes.
pub(crate) fn server(config: &TlsConfig) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(&config.certificate)
        .and_then(|chain| chain.collect::<Result<Vec<_>, _>>())
        .map_err(|error| bad("certificate", &config.certificate, error))?;
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| bad("key", &config.key, error))?;
    let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| bad("certificate", &config.certificate, error))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

fn bad(what: &str, file: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let message = format!("the gateway's setting `tls.{what}` names a file that can't be used");
    Error::new(ErrorKind::Config, message).with_context("file", file.display()).with_source(error)
}
