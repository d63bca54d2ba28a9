//! Settings from the environment.

use std::env;
use std::time::Duration;

use embed_core::{Error, ErrorKind};

/// A variable that is set to something.
pub(crate) fn variable(name: &str) -> Result<Option<String>, Error> {
    match env::var(name) {
        Ok(value) if value.trim().is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => {
            Err(Error::new(ErrorKind::Config, format!("{name} is not valid Unicode; set it anew")))
        }
    }
}

/// A variable that is a number of seconds above zero.
pub(crate) fn seconds(name: &str) -> Result<Option<Duration>, Error> {
    let Some(value) = variable(name)? else { return Ok(None) };
    let seconds = value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|seconds| !seconds.is_zero()).map(Some).ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("{name} is not a number of seconds; set it to one like 30"))
    })
}

/// A variable that is on or off.
pub(crate) fn switch(name: &str) -> Result<Option<bool>, Error> {
    let Some(value) = variable(name)? else { return Ok(None) };
    match value.trim().to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(Some(true)),
        "false" | "0" | "no" | "off" => Ok(Some(false)),
        _ => Err(Error::new(
            ErrorKind::Config,
            format!("{name} is neither true nor false; set it to one of them"),
        )),
    }
}
