//! A certificate for 127.0.0.1, made by `openssl`.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A self-signed certificate for tests, with its key. The files are removed when this is dropped.
#[derive(Debug)]
pub struct Certificate {
    folder: TempDir,
}

impl Certificate {
    pub(super) const FILE: &str = "cert.pem";
    pub(super) const KEY: &str = "key.pem";

    /// Makes one.
    ///
    /// # Errors
    ///
    /// Why it can't: there is no `openssl`.
    pub fn make() -> Result<Self, String> {
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let made = Self { folder };
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args([
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1",
            ])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-out")
            .arg(made.file())
            .arg("-keyout")
            .arg(made.key())
            .output()
            .map_err(|error| format!("openssl: {error}; install Debian's package openssl"))?;
        if output.status.success() {
            return Ok(made);
        }
        Err(format!("openssl: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The certificate, which is its own authority.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.path().join(Self::FILE)
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.folder.path().join(Self::KEY)
    }

    /// The folder of both.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}
