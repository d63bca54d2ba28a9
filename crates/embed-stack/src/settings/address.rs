//! Addresses to listen on, which may contain host names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use embed_core::{Error, ErrorKind};

/// The valid addresses, as the end of a sentence with "must be".
pub(super) const ADDRESS: &str = "an address and a port such as 127.0.0.1:8080, localhost:8080 or :8080";

/// Parses `HOST:PORT`. Without a host it is the loopback address. A name is resolved now; of several addresses the first
/// IPv4 one is used, else the first.
pub(super) fn address(text: &str) -> Result<SocketAddr, Error> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port): (&str, u16) = parts.ok_or_else(refusal)?;
    Ok(SocketAddr::new(ip(host)?, port))
}

/// The address of a host: an IP address, a name, or empty for the loopback address.
///
/// # Errors
///
/// [`ErrorKind::Config`] if it is none, or isn't known.
pub fn ip(host: &str) -> Result<IpAddr, Error> {
    if host.is_empty() {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(ip);
    }
    // Text with other characters isn't a name, and isn't resolved.
    if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err(refusal());
    }
    let found: Vec<SocketAddr> = (host, 0)
        .to_socket_addrs()
        .map_err(|error| {
            let what = "names an unknown host; give its IP address";
            Error::new(ErrorKind::Config, what).with_context("host", host).with_source(error)
        })?
        .collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.map(SocketAddr::ip).ok_or_else(refusal)
}

fn refusal() -> Error {
    Error::new(ErrorKind::Config, format!("must be {ADDRESS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_missing_hosts_are_addresses() {
        for (text, expected) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]:80", "[::1]:80"),
            (":8080", "127.0.0.1:8080"),
            ("localhost:8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), expected, "{text}");
        }
        for text in
            ["", "localhost", "8080", "a b:80", "localhost:", "localhost:65536", "http://localhost:80"]
        {
            let error = address(text).unwrap_err().to_string();
            assert!(error.contains("must be an address"), "{text}: {error}");
        }
        let error = address("no-such-host.invalid:80").unwrap_err().to_string();
        assert!(error.contains("no-such-host.invalid"), "{error}");
    }
}
