//! TLS to a server, and a build without it.

use std::error::Error as StdError;

use embed_core::{Error, ErrorKind};
use reqwest::{ClientBuilder, Url};

/// A client for this address.
#[cfg(feature = "tls")]
pub(crate) fn secured(builder: ClientBuilder, url: &Url) -> Result<ClientBuilder, Error> {
    use rustls_platform_verifier::BuilderVerifierExt;

    // `ring` is handed over here and not installed for the whole process, which is the program's choice.
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = if url.scheme() == "https" {
        versions.and_then(BuilderVerifierExt::with_platform_verifier)
    } else {
        // A plain server must not fail for lack of certificates.
        versions.map(|builder| builder.with_root_certificates(rustls::RootCertStore::empty()))
    };
    let tls = tls.map_err(|error| {
        let what = "the system's certificates can't be read; install the package ca-certificates";
        Error::new(ErrorKind::Config, what).with_source(error)
    })?;
    Ok(builder.tls_backend_preconfigured(tls.with_no_client_auth()))
}

/// A client for this address, which must be a plain one.
#[cfg(not(feature = "tls"))]
pub(crate) fn secured(builder: ClientBuilder, url: &Url) -> Result<ClientBuilder, Error> {
    if url.scheme() == "https" {
        let what = "this program is built without TLS, so it can't ask an https address; build it with the \
                    feature `tls`, or give an http address";
        return Err(Error::new(ErrorKind::Config, what));
    }
    Ok(builder)
}

/// Errors of input and output wrap one another, and their `source` skips what they wrap.
#[cfg(feature = "tls")]
pub(crate) fn is_tls(cause: &(dyn StdError + 'static)) -> bool {
    cause.is::<rustls::Error>()
        || cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .is_some_and(|inside| is_tls(inside))
}

#[cfg(not(feature = "tls"))]
pub(crate) fn is_tls(_cause: &(dyn StdError + 'static)) -> bool {
    false
}

#[cfg(all(test, not(feature = "tls")))]
mod tests {
    use super::*;

    #[test]
    fn without_the_feature_https_is_refused_in_words() {
        let client = |url: &str| secured(reqwest::Client::builder(), &url.parse().unwrap());
        assert!(client("http://127.0.0.1:11434").is_ok());
        let error = client("https://ollama.example").unwrap_err();
        assert!(error.kind() == ErrorKind::Config && error.message().contains("feature `tls`"), "{error}");
    }
}
