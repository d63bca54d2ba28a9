//! Who may call: the gateway's settings, with the files that they name.

use std::fs;
use std::path::Path;

use embed_core::{Error, ErrorKind};
use embed_gateway::{ApiKey, GatewayConfig, TlsConfig};

use crate::exit::file_error;
use crate::keys::keys;
use crate::settings::GatewaySettings;

/// The gateway's settings, with the files that they name. Everything that can't work is an error here, before a model is
/// loaded.
pub(super) fn config(settings: &GatewaySettings) -> Result<GatewayConfig, Error> {
    let mut config = settings.config.clone();
    if let Some(path) = &settings.api_key_file {
        // A user who names a file wants calls to need a key.
        for key in key_file(path)? {
            if !config.api_keys.iter().any(|known| known.is_same(&key)) {
                config.api_keys.push(key);
            }
        }
    }
    config.tls = match (&settings.tls_certificate, &settings.tls_key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(TlsConfig::new(certificate, key)),
        _ => {
            let what = "TLS needs gateway.tls_certificate and gateway.tls_key; one of them is missing";
            return Err(Error::new(ErrorKind::Config, what));
        }
    };
    if settings.admin_listen.is_some_and(|admin| admin == settings.listen && admin.port() != 0) {
        let what = "gateway.admin_listen is the address of gateway.listen; choose another port";
        return Err(Error::new(ErrorKind::Config, what).with_context("address", settings.listen));
    }
    config.check_listening(settings.listen)?;
    Ok(config)
}

/// The keys of a file.
fn key_file(path: &Path) -> Result<Vec<ApiKey>, Error> {
    let text = fs::read_to_string(path)
        .map_err(|error| file_error("the file of API keys can't be read", path.display(), error))?;
    let keys = keys(&text);
    if keys.is_empty() {
        return Err(Error::new(ErrorKind::Config, "the file of API keys has none; write one a line")
            .with_context("file", path.display()));
    }
    Ok(keys)
}
