//! The key that a request is sent with: a value, or a file that may change.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use embed_core::{Error, ErrorKind};
use embed_remote::Secret;
use reqwest::header::HeaderValue;

use crate::config::OpenAiConfig;

/// Where the key comes from.
#[derive(Debug)]
pub(crate) enum Key {
    None,
    Value(HeaderValue),
    File(KeyFile),
}

#[derive(Debug)]
pub(crate) struct KeyFile {
    path: PathBuf,
    read: Mutex<Option<Read>>,
}

/// What was read, and of which state of the file.
#[derive(Debug, Clone)]
struct Read {
    state: (Option<SystemTime>, u64),
    header: HeaderValue,
}

impl Key {
    pub(crate) fn of(config: &OpenAiConfig) -> Result<Self, Error> {
        let key = config.key.as_ref().filter(|key| !key.is_empty());
        Ok(match (key.and_then(|key| key.header("Bearer ")), &config.key_file) {
            (Some(header), _) => Self::Value(header),
            (None, None) => Self::None,
            (None, Some(path)) => {
                let file = KeyFile { path: path.clone(), read: Mutex::default() };
                file.header()?;
                Self::File(file)
            }
        })
    }

    /// The header's value now.
    pub(crate) fn header(&self) -> Result<Option<HeaderValue>, Error> {
        match self {
            Self::None => Ok(None),
            Self::Value(header) => Ok(Some(header.clone())),
            Self::File(file) => file.header().map(Some),
        }
    }

    /// Whether the file has another key than the one that a server refused.
    pub(crate) fn is_another(&self, refused: &HeaderValue) -> bool {
        match self {
            Self::File(file) => file.read_anew().is_ok_and(|read| read.header != *refused),
            _ => false,
        }
    }
}

impl KeyFile {
    fn header(&self) -> Result<HeaderValue, Error> {
        let known = self.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(known) if self.state().is_ok_and(|state| state == known.state) => Ok(known.header),
            // A file that is being exchanged may be gone or empty for a moment.
            Some(known) => Ok(self.read_anew().map_or(known.header, |read| read.header)),
            None => self.read_anew().map(|read| read.header),
        }
    }

    fn state(&self) -> std::io::Result<(Option<SystemTime>, u64)> {
        let metadata = std::fs::metadata(&self.path)?;
        Ok((metadata.modified().ok(), metadata.len()))
    }

    fn read_anew(&self) -> Result<Read, Error> {
        let read = || Ok((self.state()?, std::fs::read_to_string(&self.path)?));
        let (state, text) = read().map_err(|error: std::io::Error| {
            wrong(&self.path, "can't be read; check its path and its permissions").with_source(error)
        })?;
        let key = Secret::new(&text);
        let header = key.header("Bearer ").filter(|_| !key.is_empty());
        let header = header.ok_or_else(|| wrong(&self.path, "holds no key; write the key alone into it"))?;
        let read = Read { state, header };
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Some(read.clone());
        Ok(read)
    }
}

fn wrong(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the file of the key {what}"))
        .with_context("field", "key_file")
        .with_context("file", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let config = OpenAiConfig::new("m", "http://h").with_key_file(path.clone());
        assert!(Key::of(&config).unwrap_err().to_string().contains("key_file"));
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(Key::of(&config).unwrap_err().kind(), ErrorKind::Config);
        std::fs::write(&path, "first\n").unwrap();
        let key = Key::of(&config).unwrap();
        let first = key.header().unwrap().unwrap();
        assert_eq!(first, "Bearer first");
        assert!(!key.is_another(&first));
        std::fs::write(&path, "the second").unwrap();
        assert_eq!(key.header().unwrap().unwrap(), "Bearer the second");
        assert!(key.is_another(&first));
        // It is empty and then gone for a moment.
        std::fs::write(&path, "").unwrap();
        assert_eq!(key.header().unwrap().unwrap(), "Bearer the second");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(key.header().unwrap().unwrap(), "Bearer the second");
        assert!(!format!("{key:?}").contains("second"));
    }
}
