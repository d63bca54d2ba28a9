//! Addresses of Ollama's servers, by the rules that its own programs follow for `OLLAMA_HOST`, so that a value which
//! works there works here.

use embed_core::Error;
use embed_remote::address::AddressForm;
use reqwest::Url;

const DEFAULT_PORT: u16 = 11434;

fn form(field: &str) -> AddressForm<'_> {
    AddressForm {
        field,
        port: DEFAULT_PORT,
        example: "http://127.0.0.1:11434",
        suffix: "/api",
        lenient_port: false,
    }
}

/// Ollama's own host is no server of this network.
fn with_scheme(value: &str) -> &str {
    match value.trim().trim_matches(['"', '\'']).trim() {
        "ollama.com" => "https://ollama.com",
        value => value,
    }
}

/// The base URL that a value of `OLLAMA_HOST` means to a client.
///
/// | value | base URL |
/// |---|---|
/// | empty | `http://127.0.0.1:11434` |
/// | `1.2.3.4`, `example.com` | that host, port 11434 |
/// | `:1234` | `http://127.0.0.1:1234` |
/// | `::1`, `[::1]` | `http://[::1]:11434` |
/// | `0.0.0.0`, `[::]` | the loopback address: a client can't connect to "everywhere" |
/// | `http://h` | port 80, not 11434 |
/// | `https://h/path` | port 443, the path is kept |
/// | `ollama.com` | `https://ollama.com` |
/// | a port that is none | the scheme's default port |
///
/// # Errors
///
/// [`ErrorKind::Config`](embed_core::ErrorKind::Config) if it names no host.
pub fn ollama_host(value: &str) -> Result<String, Error> {
    let form = AddressForm { lenient_port: true, ..form("OLLAMA_HOST") };
    form.parse(with_scheme(value)).map(|url| url.as_str().trim_end_matches('/').to_owned())
}

/// The base URL that a setting means: read as [`ollama_host`] does, but a port that is none is an error, and `/api` at
/// the end is taken off.
///
/// ```
/// assert_eq!(embed_ollama::server_url("gpu-3/api")?, "http://gpu-3:11434");
/// # Ok::<(), embed_core::Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::Config`](embed_core::ErrorKind::Config) if it is no address. The message has nothing of the value in it.
///
/// User and password, `http://USER:PASSWORD@HOST`, stay in it; [`shown_url`](crate::shown_url) hides them.
pub fn server_url(value: &str) -> Result<String, Error> {
    base_url(value, "the address").map(|url| url.as_str().trim_end_matches('/').to_owned())
}

/// The root of a server out of a setting, without `/api` and without a slash at its end.
pub(crate) fn base_url(value: &str, field: &str) -> Result<Url, Error> {
    form(field).read(with_scheme(value))
}

#[cfg(test)]
mod tests {
    use embed_core::ErrorKind;

    use super::*;

    #[test]
    fn ollama_host_means_what_it_means_to_ollama() {
        for (value, expected) in [
            ("", "http://127.0.0.1:11434"),
            ("1.2.3.4", "http://1.2.3.4:11434"),
            (" \"example.com\" ", "http://example.com:11434"),
            (":1234", "http://127.0.0.1:1234"),
            ("[::1]", "http://[::1]:11434"),
            ("::1", "http://[::1]:11434"),
            ("[::1]:99", "http://[::1]:99"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:80", "http://127.0.0.1"),
            ("[::]", "http://[::1]:11434"),
            ("http://h", "http://h"),
            ("https://h", "https://h"),
            ("https://h/ollama/", "https://h/ollama"),
            ("h:99999", "http://h:11434"),
            ("http://h:x", "http://h"),
            ("ollama.com", "https://ollama.com"),
        ] {
            assert_eq!(ollama_host(value).unwrap(), expected, "{value:?}");
        }
    }

    #[test]
    fn a_base_url_is_with_or_without_api() {
        for value in ["http://h:1/api", "http://h:1/api/", "http://h:1/", "http://h:1//", "h:1", "h:1/api"] {
            assert_eq!(base_url(value, "servers").unwrap().as_str(), "http://h:1/", "{value:?}");
        }
        let under = base_url("http://h:1/ollama/api/", "servers").unwrap();
        assert_eq!(under.as_str(), "http://h:1/ollama");
    }

    #[test]
    fn what_is_wrong_names_the_field_and_shows_no_password() {
        for value in [
            "ftp://h",
            "http://me:secret@h:99999",
            "http://me:secret@a b",
            "h:99999",
            "http://h/a//b",
            "http://h/?x",
            "a b",
        ] {
            let error = base_url(value, "servers").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("servers"), "{error}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }
}
