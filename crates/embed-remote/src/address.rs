//! Addresses of servers: what people write, and what it means.

use std::net::IpAddr;

use embed_core::{Error, ErrorKind};
use reqwest::Url;

/// How an address is read.
#[derive(Debug, Clone, Copy)]
pub struct AddressForm<'a> {
    /// The setting, which an error names.
    pub field: &'a str,
    /// The port of an address without scheme and port.
    pub port: u16,
    /// An address that is right, for errors.
    pub example: &'a str,
    /// What is taken off the end of the path, such as `/api`: the requests put it there.
    pub suffix: &'a str,
    /// Whether a port that is none means the scheme's own; otherwise it is an error.
    pub lenient_port: bool,
}

impl AddressForm<'_> {
    /// The root of a server, without [`suffix`](Self::suffix) and without a slash at its end, so that a path can be put
    /// behind it and no slash is ever doubled (a server may answer a doubled one with a redirect, which turns a POST into
    /// a GET). A host alone is plain HTTP at [`port`](Self::port); "everywhere" (`0.0.0.0`, `[::]`) is this machine.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if it is no address. The message has nothing of the value in it.
    pub fn read(&self, value: &str) -> Result<Url, Error> {
        let mut url = self.parse(value)?;
        let path = url.path().trim_end_matches('/');
        let path = path.strip_suffix(self.suffix).unwrap_or(path);
        let path = path.trim_end_matches('/').to_owned();
        if path.contains("//") {
            return Err(self.wrong("has a doubled slash in its path"));
        }
        url.set_path(&path);
        Ok(url)
    }

    /// The same with its path as it stands.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if it is no address. The message has nothing of the value in it.
    pub fn parse(&self, value: &str) -> Result<Url, Error> {
        let value = value.trim().trim_matches(['"', '\'']).trim();
        let (scheme, rest, default_port) = match value.split_once("://") {
            None => ("http", value, self.port),
            Some(("http", rest)) => ("http", rest, 80),
            Some(("https", rest)) => ("https", rest, 443),
            Some(_) => return Err(self.wrong("has a scheme that is neither http nor https")),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (credentials, authority) =
            authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
        let at = if credentials.is_empty() { "" } else { "@" };
        let (host, port) = split_port(authority);
        let port = match port.map(str::parse::<u16>) {
            None => default_port,
            Some(Ok(port)) => port,
            Some(Err(_)) if self.lenient_port => default_port,
            Some(Err(_)) => return Err(self.wrong("has a port that is no number up to 65535")),
        };
        let host = match host {
            "" | "0.0.0.0" => "127.0.0.1".to_owned(),
            "::" => "[::1]".to_owned(),
            host if host.contains(':') => format!("[{host}]"),
            host => host.to_owned(),
        };
        // The parser's own error quotes nothing.
        let url = Url::parse(&format!("{scheme}://{credentials}{at}{host}:{port}{path}"))
            .map_err(|error| self.wrong("is no address").with_source(error))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(self.wrong("has something behind its path"));
        }
        Ok(url)
    }

    fn wrong(&self, what: &str) -> Error {
        Error::new(ErrorKind::Config, format!("{} {what}; an address is like {}", self.field, self.example))
    }
}

/// Whether the server is this machine: then no proxy stands between.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
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

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: AddressForm<'_> = AddressForm {
        field: "servers",
        port: 8080,
        example: "http://127.0.0.1:8080",
        suffix: "/v1",
        lenient_port: false,
    };

    #[test]
    fn an_address_is_with_or_without_its_suffix() {
        for value in ["http://h:1/v1", "http://h:1/v1/", "http://h:1/", "http://h:1//", "h:1", " \"h:1/v1\" "]
        {
            assert_eq!(FORM.read(value).unwrap().as_str(), "http://h:1/", "{value:?}");
        }
        assert_eq!(FORM.read("https://h/gateway/v1/").unwrap().as_str(), "https://h/gateway");
        assert_eq!(FORM.read("h").unwrap().as_str(), "http://h:8080/");
        assert_eq!(FORM.read("0.0.0.0").unwrap().as_str(), "http://127.0.0.1:8080/");
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
            let error = FORM.read(value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("servers"), "{error}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }
}
