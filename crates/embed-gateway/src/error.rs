//! Errors of settings.

use std::net::SocketAddr;

use embed_core::{Error, ErrorKind};

/// The error for an address that strangers can reach without a key.
pub(crate) fn public_without_key(address: SocketAddr) -> Error {
    let message = "other machines reach this address, and no API key is set: set one (TMWS_GATEWAY_API_KEYS), listen \
                   on 127.0.0.1, or set TMWS_GATEWAY_PUBLIC_WITHOUT_KEY=true if something in front keeps strangers \
                   out (in Rust, `allow_public_without_key`)";
    Error::new(ErrorKind::Config, message).with_context("address", address)
}

/// The error for an invalid setting.
pub(crate) fn wrong(field: &str, why: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the gateway's setting `{field}` {why}"))
}
