//! Content ids of files: a SHA-256, or git's id of a blob.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::Progress;
use crate::progress::blocking;
use embed_core::Error;

/// The id of a file's content, in hexadecimal: the SHA-256 for large files, git's blob id for all others. The caches of the
/// hub's own tools use it as the file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContentId {
    Sha256(String),
    /// SHA-1 of `blob`, a space, the length, a zero byte, and the bytes.
    GitBlob(String),
}

impl ContentId {
    /// The id in a header or a file name. Its length tells which kind it is.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("W/").unwrap_or(text).trim_matches('"');
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        match text.len() {
            64 => Some(Self::Sha256(text.to_ascii_lowercase())),
            40 => Some(Self::GitBlob(text.to_ascii_lowercase())),
            _ => None,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Sha256(text) | Self::GitBlob(text) => text,
        }
    }

    /// The id of the same kind that a file has. Blocks.
    pub(super) fn of_file(&self, path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        match self {
            Self::Sha256(_) => digest(file, Sha256::new()).map(Self::Sha256),
            Self::GitBlob(_) => {
                let header = format!("blob {}\0", file.metadata()?.len());
                digest(file, Sha1::new_with_prefix(header)).map(Self::GitBlob)
            }
        }
    }
}

impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(text) => write!(f, "SHA-256 {text}"),
            Self::GitBlob(text) => write!(f, "git blob {text}"),
        }
    }
}

/// Whether a file has this content. An error says why it can't be read.
pub(crate) async fn is_content(
    path: &Path,
    expected: ContentId,
    progress: &dyn Progress,
) -> Result<bool, Error> {
    let path = path.to_owned();
    blocking(progress, move |_| {
        expected
            .of_file(&path)
            .map(|found| found == expected)
            .map_err(|error| crate::files::failed("read", &path, error))
    })
    .await
}

fn digest(mut file: File, mut hasher: impl sha2::Digest) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ids_are_those_of_git_and_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "hello\n").unwrap();
        // `git hash-object` and `sha256sum` say so.
        for id in [
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ] {
            let id = ContentId::parse(&format!("\"{id}\"")).unwrap();
            assert_eq!(id.of_file(&path).unwrap(), id);
        }
        assert_eq!(ContentId::parse("\"1234\""), None);
    }
}
