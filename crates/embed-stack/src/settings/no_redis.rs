//! Replaces the settings of Redis in a build without it: types without values.

use std::fmt;
use std::str::FromStr;

use embed_core::{Error, ErrorKind};

/// An address that can't be parsed.
#[derive(Debug, Clone)]
pub enum RedisUrl {}

/// The constants of the real type.
#[derive(Debug)]
pub(super) struct RedisConfig;

/// The error for a build without Redis.
pub(super) fn none() -> Error {
    let fix = "this program was built without Redis; build it with `cargo build --features redis`, or leave this out";
    Error::new(ErrorKind::Config, fix)
}

impl FromStr for RedisUrl {
    type Err = Error;

    fn from_str(_: &str) -> Result<Self, Error> {
        Err(none())
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl RedisConfig {
    pub(super) const PREFIX: &str = "embed";
}
