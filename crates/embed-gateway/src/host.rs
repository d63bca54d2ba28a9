//! Checks of a request's host and origin, which keep out web pages of strangers if no key is required.
//!
//! As in Ollama 0.9.3 (`allowedHostsMiddleware`, `envconfig.AllowedOrigins`): a browser that a hostile name server sent
//! here (DNS rebinding) still sends the hostile page's host name, and every page sends its origin.

use std::net::IpAddr;
use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, Method, Request, Version, header};
use embed_core::Result;

use crate::error::wrong;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Origins that may call if no key is required: those of this machine and of programs on it.
const HERE: [&str; 17] = [
    "http://localhost",
    "https://localhost",
    "http://localhost:*",
    "https://localhost:*",
    "http://127.0.0.1",
    "https://127.0.0.1",
    "http://127.0.0.1:*",
    "https://127.0.0.1:*",
    "http://0.0.0.0",
    "https://0.0.0.0",
    "http://0.0.0.0:*",
    "https://0.0.0.0:*",
    "app://*",
    "file://*",
    "tauri://*",
    "vscode-webview://*",
    "vscode-file://*",
];

/// The name of this machine.
static HOSTNAME: LazyLock<String> =
    LazyLock::new(|| gethostname::gethostname().to_string_lossy().to_lowercase());

/// The request's host; empty if there is none. An authority in the request line takes precedence over the header.
///
/// # Errors
///
/// Why the host is ambiguous or invalid.
pub(crate) fn host_of<B>(request: &Request<B>) -> Result<&str, &'static str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("the request has more than one Host header");
    }
    if let Some(authority) = request.uri().authority() {
        return Ok(authority.as_str());
    }
    match host.map(|host| host.to_str()) {
        Some(Ok(host)) => Ok(host.trim()),
        Some(Err(_)) => Err("the Host header isn't in ASCII"),
        None if request.version() >= Version::HTTP_11 => Err("the request has no Host header"),
        None => Ok(""),
    }
}

/// Whether a host is this machine, or a private name or address that public name servers can't resolve to.
pub(crate) fn is_here(host: &str) -> bool {
    let name = without_port(host);
    match name.parse::<IpAddr>() {
        Ok(address) => {
            let canonical = address.to_canonical();
            let private = match canonical {
                IpAddr::V4(address) => address.is_private(),
                IpAddr::V6(address) => address.is_unique_local(),
            };
            private || canonical.is_loopback() || address.is_unspecified() || is_of_interface(canonical)
        }
        Err(_) => {
            let name = name.to_ascii_lowercase();
            let local = [".localhost", ".local", ".internal"].iter().any(|end| name.ends_with(end));
            local || name.is_empty() || name == "localhost" || name == *HOSTNAME
        }
    }
}

/// Whether an interface of this machine has the address.
fn is_of_interface(address: IpAddr) -> bool {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.iter().any(|interface| interface.ip().to_canonical() == address)
}

/// The host without port and brackets. An IPv6 address in brackets without a port, as browsers send for port 80, is
/// accepted too.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
            _ => host,
        };
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

/// A list of origins of web pages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origins {
    any: bool,
    listed: Vec<Pattern>,
}

/// An origin, possibly with a `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    before: String,
    after: Option<String>,
}

impl Origins {
    /// Parses a list.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) for an entry that no origin can match.
    pub(crate) fn new<'o>(origins: impl IntoIterator<Item = &'o str>) -> Result<Self> {
        let mut all = Self::default();
        for origin in origins {
            match origin.trim() {
                "*" => all.any = true,
                origin => all.listed.push(Pattern::new(origin)?),
            }
        }
        Ok(all)
    }

    /// Adds the origins of this machine.
    pub(crate) fn or_here(mut self) -> Result<Self> {
        self.listed.extend(Self::new(HERE)?.listed);
        Ok(self)
    }

    pub(crate) fn is_any(&self) -> bool {
        self.any
    }

    pub(crate) fn holds(&self, origin: &str) -> bool {
        self.any || self.listed.iter().any(|pattern| pattern.matches(origin))
    }

    /// Whether the request comes from a web page whose origin isn't in the list.
    pub(crate) fn refuse(&self, method: &Method, headers: &HeaderMap, host: &str) -> bool {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let site = text(&SEC_FETCH_SITE).unwrap_or_default();
        // No page can set this header. Behind a proxy, only it identifies the gateway's own page.
        if self.any || matches!(site, "same-origin" | "none") {
            return false;
        }
        match headers.get(header::ORIGIN).filter(|origin| !origin.is_empty()) {
            Some(origin) => {
                let origin = origin.to_str().unwrap_or_default();
                let same = |scheme: &str| origin.strip_prefix(scheme).is_some_and(|rest| rest == host);
                !(same("http://") || same("https://") || self.holds(origin))
            }
            // Following a link isn't a call.
            None => {
                let follows = matches!(*method, Method::GET | Method::HEAD)
                    && text(&SEC_FETCH_MODE) == Some("navigate");
                site == "cross-site" && !follows
            }
        }
    }
}

impl Pattern {
    fn new(origin: &str) -> Result<Self> {
        let refuse = |why: &str| Err(wrong("cors_origins", &format!("has an entry that {why}")));
        let origin = origin.to_ascii_lowercase();
        if origin == "null" {
            return Ok(Self { before: origin, after: None });
        }
        let Some((scheme, host)) = origin.split_once("://") else {
            return refuse("isn't an origin such as https://app.example.org: it has no scheme");
        };
        let host = host.strip_suffix('/').unwrap_or(host);
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => "",
        };
        // Browsers omit the default port.
        let host =
            if default_port.is_empty() { host } else { host.strip_suffix(default_port).unwrap_or(host) };
        let is_word = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if scheme.is_empty() || !is_word(scheme) {
            return refuse("has no scheme that a browser sends; write it as https://app.example.org");
        }
        if !host.is_ascii() {
            return refuse("isn't in ASCII; write the host as browsers send it (xn--…)");
        }
        if host.is_empty() || host.bytes().any(|byte| b"/?#@\\ \t".contains(&byte)) {
            return refuse("is more than scheme, host and port; write it as https://app.example.org");
        }
        match host.split_once('*') {
            None => Ok(Self { before: format!("{scheme}://{host}"), after: None }),
            Some((_, after)) if after.contains('*') => refuse("has more than one `*`"),
            Some((before, after)) => {
                Ok(Self { before: format!("{scheme}://{before}"), after: Some(after.to_owned()) })
            }
        }
    }

    fn matches(&self, origin: &str) -> bool {
        let Some(after) = &self.after else { return self.before == origin };
        let part = origin.strip_prefix(&*self.before).and_then(|rest| rest.strip_suffix(&**after));
        let port = self.before.ends_with(':') && !self.before.ends_with("://");
        part.is_some_and(|part| {
            if port { part.bytes().all(|byte| byte.is_ascii_digit()) } else { !part.contains('/') }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_as_they_are_written() {
        let cases = [
            ("https://app.example.org", "https://app.example.org", true),
            ("https://app.example.org/", "https://app.example.org", true),
            ("https://APP.example.org:443", "https://app.example.org", true),
            ("https://app.example.org", "http://app.example.org", false),
            ("https://app.example.org", "https://app.example.org.evil.example", false),
            ("http://localhost:*", "http://localhost:3000", true),
            ("http://localhost:*", "http://localhost", false),
            ("http://localhost:*", "http://localhost:80.evil.example", false),
            ("https://*.example.org", "https://a.b.example.org", true),
            ("https://*.example.org", "https://example.org", false),
            ("https://*.example.org", "https://evil.example/.example.org", false),
            ("app://*", "app://obsidian.md", true),
            ("null", "null", true),
            ("*", "https://any.example", true),
        ];
        for (listed, origin, holds) in cases {
            assert_eq!(Origins::new([listed]).unwrap().holds(origin), holds, "{listed} {origin}");
        }
        for bad in [
            "",
            "app.example.org",
            "localhost:3000",
            "https://",
            "https://a.example/path",
            "https://*.*.example",
            "https://me@a.example",
            "https://a.example, https://b.example",
            "https://bücher.example",
            "://x",
            "ht tp://x",
        ] {
            let error = Origins::new([bad]).unwrap_err().to_string();
            assert!(error.contains("`cors_origins`"), "{bad}: {error}");
        }
    }
}
