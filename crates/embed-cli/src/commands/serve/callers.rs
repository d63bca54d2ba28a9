//! Who may call: the gateway's settings, with what has to be read from files.

use std::fs;
use std::path::Path;

use embed_core::{Error, ErrorKind};
use embed_gateway::{ApiKey, GatewayConfig, TlsConfig};

use crate::exit::file_error;
use crate::settings::GatewaySettings;

/// The gateway's settings with what has to be read from files. Everything that can't work is said here, before a
/// model is loaded.
pub(super) fn config(settings: &GatewaySettings) -> Result<GatewayConfig, Error> {
    let mut config = settings.config.clone();
    if let Some(path) = &settings.api_key_file {
        // Whoever names a file wants a key to be asked for.
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

/// The keys of a text: one a line, each once. Spaces around a key, empty lines, lines that begin with `#` and a byte
/// order mark are no part of one. A comment behind a key, after a space, is its name in the log.
fn keys(text: &str) -> Vec<ApiKey> {
    let mut keys: Vec<ApiKey> = Vec::new();
    for line in text.strip_prefix('\u{feff}').unwrap_or(text).lines().map(str::trim) {
        let comment = line.match_indices('#').map(|(at, _)| at).find(|at| {
            let before = line[..*at].chars().next_back();
            before.is_none_or(char::is_whitespace)
        });
        let (key, name) = comment.map_or((line, ""), |at| (line[..at].trim_end(), line[at + 1..].trim()));
        if key.is_empty() {
            continue;
        }
        let name = if name.is_empty() { format!("file-{}", keys.len() + 1) } else { name.to_owned() };
        let key = ApiKey::new(name, key);
        if !keys.iter().any(|known| known.is_same(&key)) {
            keys.push(key);
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_read_as_people_write_it() {
        let text = "\u{feff}first\r\n\r\n# a comment\r\n  second \t\r\n#third\r\nfourth # alice's laptop\r\nwith#hash\r\n\
                    a,b:c=d\r\nfirst\r\nlast";
        let keys = keys(text);
        let names: Vec<_> = keys.iter().map(ApiKey::name).collect();
        assert_eq!(names, ["file-1", "file-2", "alice's laptop", "file-4", "file-5", "file-6"]);
        for (key, read) in
            ["first", "second", "fourth", "with#hash", "a,b:c=d", "last"].into_iter().zip(&keys)
        {
            assert!(read.is_same(&ApiKey::new("", key)), "{key}");
        }
    }

    #[test]
    fn a_file_of_comments_has_no_key() {
        for text in ["", "\u{feff}", "\r\n \n", "# nothing\n  # here"] {
            assert!(keys(text).is_empty(), "{text:?}");
        }
    }
}
