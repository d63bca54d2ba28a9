//! TLS: trusted certificates and the client's certificate.

use std::path::Path;
use std::sync::Arc;

use embed_core::{Error, ErrorKind};
use fred::types::config::{TlsConfig, TlsConnector};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_platform_verifier::Verifier;

use super::RedisConfig;

/// The client's settings for TLS.
pub(super) fn settings(config: &RedisConfig) -> Result<TlsConfig, Error> {
    // `ring` is passed here and not installed for the whole process, which is the program's decision.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = config.ca_file.as_deref().map(|file| certificates(file, "ca_file")).transpose()?;
    let verifier = Verifier::new_with_extra_roots(roots.unwrap_or_default(), Arc::clone(&provider)).map_err(|error| {
        let what = "the certificates to trust can't be read; see ca_file, or install the package ca-certificates";
        Error::new(ErrorKind::Config, what).with_source(error)
    })?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Internal, "rustls refuses its versions").with_source(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let tls = match &config.client_certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let field = "client_certificate";
            let chain = certificates(certificate, field)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, field, error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                Error::new(ErrorKind::Config, "the key doesn't belong to the certificate of this client")
                    .with_context("field", field)
                    .with_source(error)
            })?
        }
    };
    Ok(TlsConnector::from(tls).into())
}

fn certificates(file: &Path, field: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unreadable(file, field, error))?;
    if found.is_empty() {
        let what = "the file has no certificate in PEM form";
        return Err(Error::new(ErrorKind::Config, what)
            .with_context("field", field)
            .with_context("file", file.display()));
    }
    Ok(found)
}

fn unreadable(file: &Path, field: &'static str, error: rustls::pki_types::pem::Error) -> Error {
    Error::new(ErrorKind::Config, "the file can't be read as PEM")
        .with_context("field", field)
        .with_context("file", file.display())
        .with_source(error)
}
