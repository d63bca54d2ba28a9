//! Addresses of servers: what people write, and what it means.
//!
//! The rules are those that Ollama's own programs follow for `OLLAMA_HOST`, so that a value which works
//! there works here.

use std::net::IpAddr;

use embed_core::{Error, ErrorKind};
use reqwest::Url;

const DEFAULT_PORT: u16 = 11434;

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
/// [`ErrorKind::Config`] if it names no host.
pub fn ollama_host(value: &str) -> Result<String, Error> {
    parse(value, "OLLAMA_HOST", BadPort::Default).map(|url| url.as_str().trim_end_matches('/').to_owned())
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
/// [`ErrorKind::Config`] if it is no address. The message has nothing of the value in it.
///
/// User and password, `http://USER:PASSWORD@HOST`, stay in it; [`shown_url`] hides them.
pub fn server_url(value: &str) -> Result<String, Error> {
    base_url(value, "the address").map(|url| url.as_str().trim_end_matches('/').to_owned())
}

/// The root of a server out of a setting, without `/api` and without a slash at its end, so that a path
/// can be put behind it and no slash is ever doubled (Ollama answers a doubled one with a redirect that
/// turns a POST into a GET).
pub(crate) fn base_url(value: &str, field: &str) -> Result<Url, Error> {
    let mut url = parse(value, field, BadPort::Error)?;
    let path = url.path().trim_end_matches('/');
    let path = path.strip_suffix("/api").unwrap_or(path);
    let path = path.trim_end_matches('/').to_owned();
    if path.contains("//") {
        return Err(wrong(field, "has a doubled slash in its path"));
    }
    url.set_path(&path);
    Ok(url)
}

/// Whether the server is this machine: then no proxy stands between.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[derive(Clone, Copy)]
enum BadPort {
    /// As Ollama does.
    Default,
    /// A setting of our own is never silently another one.
    Error,
}

fn parse(value: &str, field: &str, bad_port: BadPort) -> Result<Url, Error> {
    let value = value.trim().trim_matches(['"', '\'']).trim();
    let (scheme, rest, default_port) = match value.split_once("://") {
        None if value == "ollama.com" => ("https", value, 443),
        None => ("http", value, DEFAULT_PORT),
        Some(("http", rest)) => ("http", rest, 80),
        Some(("https", rest)) => ("https", rest, 443),
        Some(_) => return Err(wrong(field, "has a scheme that is neither http nor https")),
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (credentials, authority) =
        authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    let at = if credentials.is_empty() { "" } else { "@" };
    let (host, port) = split_port(authority);
    let port = match (port, bad_port) {
        (None, _) => default_port,
        (Some(text), bad_port) => match (text.parse::<u16>(), bad_port) {
            (Ok(port), _) => port,
            (Err(_), BadPort::Default) => default_port,
            (Err(_), BadPort::Error) => return Err(wrong(field, "has a port that is no number up to 65535")),
        },
    };
    let host = match host {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    // The parser's own error quotes nothing.
    let url = Url::parse(&format!("{scheme}://{credentials}{at}{host}:{port}{path}"))
        .map_err(|error| wrong(field, "is no address").with_source(error))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong(field, "has something behind its path"));
    }
    Ok(url)
}

/// An address without user and password.
pub(crate) fn without_credentials(url: &Url) -> Url {
    let mut bare = url.clone();
    // An HTTP address can have both, and so can be rid of them.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    bare
}

/// An address as it may be shown: `***` in place of user and password.
#[must_use]
pub fn shown_url(address: &str) -> String {
    match address.rsplit_once('@') {
        None => address.to_owned(),
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            let between = if scheme.is_empty() { "" } else { "://" };
            format!("{scheme}{between}***@{host}")
        }
    }
}

/// Host and port. An IPv6 address without brackets has no port, since nobody could tell which part it is.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').unwrap_or((rest, ""));
        return (host, after.strip_prefix(':'));
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => (authority, None),
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    }
}

fn wrong(field: &str, what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("{field} {what}; an address is like http://127.0.0.1:11434"))
}

#[cfg(test)]
mod tests {
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
