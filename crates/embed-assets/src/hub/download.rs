//! Fetches a file: resumes it where it was interrupted, and checks it when it is complete.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use embed_core::{Error, ErrorKind, Retry};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG};
use reqwest::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::fs::OpenOptions;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::time::{sleep, timeout};

use super::client::{Client, FailedTry, FileFacts, FileRequest, protocol};
use super::content::ContentId;
use super::pins::{Digest, HubFile};
use super::repository::Repository;
use super::settings::HubOptions;
use crate::Progress;
use crate::files::{create_dirs, failed};
use crate::progress::blocking;

/// An attempt that gets this much further resets the count of failed ones.
const PROGRESS: u64 = 1 << 20;

/// The size of writes, so that a fast network doesn't cause a system call for every packet.
const BUFFER: usize = 1 << 20;

/// The paths of a file and of what belongs to it.
#[derive(Debug)]
pub(super) struct DownloadPaths {
    pub(super) whole: PathBuf,
    part: PathBuf,
    note: PathBuf,
}

/// What is known about a file whose bytes aren't complete yet.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Note {
    /// The expected content; once it is complete, the actual one.
    content: Option<String>,
    /// The strong `ETag` of the place that the partial bytes came from.
    validator: Option<String>,
}

/// A file whose last byte has arrived.
#[derive(Debug)]
struct Arrived {
    content: ContentId,
    bytes: Option<u64>,
}

impl Note {
    pub(super) fn id(&self) -> Option<ContentId> {
        self.content.as_deref().and_then(ContentId::parse)
    }
}

impl DownloadPaths {
    pub(super) fn note(&self) -> Note {
        // A damaged note counts as missing, so that the file is fetched again.
        fs::read(&self.note).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn write_note(&self, note: &Note) -> Result<(), Error> {
        let text = serde_json::to_vec(note).unwrap_or_default();
        fs::write(&self.note, text).map_err(|error| failed("write", &self.note, error))
    }

    fn partial_bytes(&self) -> u64 {
        fs::metadata(&self.part).map_or(0, |data| data.len())
    }

    fn discard(&self) -> Result<(), Error> {
        for path in [&self.part, &self.note] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Fetches the files of one repository into a folder.
#[derive(Debug)]
pub(super) struct Downloads<'a> {
    repository: Repository<'a>,
    options: &'a HubOptions,
    folder: PathBuf,
    progress: &'a dyn Progress,
    client: Client<'a>,
}

impl<'a> Downloads<'a> {
    pub(super) fn new(
        repository: Repository<'a>,
        options: &'a HubOptions,
        folder: PathBuf,
        progress: &'a dyn Progress,
    ) -> Self {
        Self { repository, options, folder, progress, client: Client::new(options) }
    }

    pub(super) fn place(&self, file: HubFile) -> DownloadPaths {
        let name = file.path.replace('/', "__");
        let in_folder = |suffix: &str| self.folder.join(format!("{name}{suffix}"));
        DownloadPaths { whole: in_folder(""), part: in_folder(".part"), note: in_folder(".json") }
    }

    /// Fetches a file, with retries.
    pub(super) async fn fetch(&self, file: HubFile) -> Result<PathBuf, Error> {
        let place = self.place(file);
        let mut backoffs = self.backoffs();
        let mut wrong_before = false;
        loop {
            let before = place.partial_bytes();
            match self.attempt(file, &place).await {
                Ok(arrived) => match self.accept(file, &place, arrived).await {
                    Err(error) if error.kind() == ErrorKind::Protocol && !wrong_before => {
                        wrong_before = true;
                        self.progress.message(&format!("{error}; fetching it anew"));
                    }
                    outcome => {
                        self.progress.finished(file.path);
                        return outcome;
                    }
                },
                Err(FailedTry { error, again: false }) => {
                    self.progress.finished(file.path);
                    return Err(error);
                }
                Err(FailedTry { error, again: true }) => {
                    if place.partial_bytes() >= before.saturating_add(PROGRESS) {
                        backoffs = self.backoffs();
                    }
                    self.pause(&mut backoffs, error)
                        .await
                        .inspect_err(|_| self.progress.finished(file.path))?;
                }
            }
        }
    }

    fn backoffs(&self) -> ExponentialBackoff {
        let patience = &self.options.patience;
        ExponentialBuilder::new()
            .with_min_delay(patience.first_pause)
            .with_max_delay(patience.longest_pause)
            .with_max_times(patience.retries)
            .with_jitter()
            .build()
    }

    /// Waits for the next attempt, or returns the error if there is none.
    async fn pause(&self, backoffs: &mut ExponentialBackoff, error: Error) -> Result<(), Error> {
        let Some(backoff) = backoffs.next() else {
            return Err(error.with_retry(Retry::Exhausted));
        };
        let pause = match error.retry() {
            Retry::Temporary { after: Some(asked) } if asked > self.options.patience.longest_asked => {
                return Err(error.with_context("asked to wait, in seconds", asked.as_secs()));
            }
            Retry::Temporary { after: Some(asked) } => asked.max(backoff),
            _ => backoff,
        };
        self.progress.message(&format!("{error}; next try in {:.1} s", pause.as_secs_f64()));
        sleep(pause).await;
        Ok(())
    }

    /// One attempt: requests the missing bytes and writes them.
    async fn attempt(&self, file: HubFile, place: &DownloadPaths) -> Result<Arrived, FailedTry> {
        let note = place.note();
        // Without a validator, the digest still shows at the end whether the two parts belong together.
        let offset = if note == Note::default() { 0 } else { place.partial_bytes() };
        let wanted = FileRequest {
            repository: self.repository.name,
            revision: self.repository.revision,
            path: file.path,
            offset,
            validator: note.validator.as_deref(),
        };
        let (announced, response) = self.client.open(&wanted).await?;
        let content = expected_content(file, &announced).map_err(FailedTry::last)?;
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            if offset > 0 && announced.bytes == Some(offset) {
                // The previous attempt was interrupted after the last byte and before the check.
                return Ok(Arrived { content, bytes: announced.bytes });
            }
            place.discard().map_err(FailedTry::last)?;
            return Err(FailedTry::again(protocol("the hub doesn't know the rest of a partial file")));
        }
        let start = start_of(&response).unwrap_or(0);
        if start != 0 && start != offset {
            return Err(FailedTry::last(protocol("the hub sends another part of the file than asked")));
        }
        let rest = header_number(response.headers().get(CONTENT_LENGTH));
        let total = announced.bytes.or(rest.map(|rest| start.saturating_add(rest)));
        let total = match (file.digest, total) {
            (Digest::Pinned { bytes, sha256 }, Some(other)) if bytes != other => {
                let what = format!("the hub has another {} than the one that is pinned", file.path);
                return Err(FailedTry::last(
                    protocol(&what)
                        .with_context("pinned SHA-256", sha256)
                        .with_context("pinned bytes", bytes)
                        .with_context("got", other),
                ));
            }
            (Digest::Pinned { bytes, .. }, _) => Some(bytes),
            (Digest::Announced, total) => total,
        };
        let validator = response
            .headers()
            .get(ETAG)
            .and_then(|etag| etag.to_str().ok())
            .filter(|etag| etag.starts_with('"'))
            .map(str::to_owned);
        create_dirs(&self.folder).map_err(FailedTry::last)?;
        let note = Note { content: Some(content.as_str().to_owned()), validator };
        place.write_note(&note).map_err(FailedTry::last)?;
        self.receive(file, &place.part, response, start, total).await?;
        Ok(Arrived { content, bytes: total })
    }

    /// Writes the bytes of a response after the first `start` bytes of the file.
    async fn receive(
        &self,
        file: HubFile,
        part: &Path,
        mut response: Response,
        start: u64,
        total: Option<u64>,
    ) -> Result<(), FailedTry> {
        let local = |error| FailedTry::last(failed("write", part, error));
        let opened = OpenOptions::new().create(true).truncate(false).write(true).open(part).await;
        let mut target = opened.map_err(local)?;
        target.set_len(start).await.map_err(local)?;
        tokio::io::AsyncSeekExt::seek(&mut target, io::SeekFrom::Start(start)).await.map_err(local)?;
        let mut target = BufWriter::with_capacity(BUFFER, target);
        let mut done = start;
        let ended = loop {
            self.progress.bytes(file.path, done, total);
            match timeout(self.options.patience.idle, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    done += chunk.len() as u64;
                    if total.is_some_and(|total| done > total) {
                        break Err(FailedTry::again(protocol("the hub sends more bytes than it announced")));
                    }
                    target.write_all(&chunk).await.map_err(local)?;
                }
                Ok(Ok(None)) if total.is_some_and(|total| done < total) => break Err(cut(file, done)),
                Ok(Ok(None)) => break Ok(()),
                Ok(Err(error)) => {
                    let FailedTry { error: what, again } = cut(file, done);
                    break Err(FailedTry { error: what.with_source(error.without_url()), again });
                }
                Err(_) => break Err(cut(file, done)),
            }
        };
        // What has arrived is kept for the next attempt, however this one ended.
        target.flush().await.map_err(local)?;
        ended
    }

    /// Checks a file that has arrived and renames it; deletes it if it is wrong.
    async fn accept(&self, file: HubFile, place: &DownloadPaths, arrived: Arrived) -> Result<PathBuf, Error> {
        let bytes = place.partial_bytes();
        let (part, expected) = (place.part.clone(), arrived.content.clone());
        let found = blocking(self.progress, move |_| {
            expected.of_file(&part).map_err(|error| failed("read", &part, error))
        })
        .await?;
        let wrong_size = arrived.bytes.is_some_and(|announced| announced != bytes);
        if wrong_size || found != arrived.content {
            place.discard()?;
            return Err(protocol(&format!("{} came with other bytes than announced", file.path))
                .with_context("expected", arrived.content)
                .with_context("got", found)
                .with_context("bytes", bytes));
        }
        place.write_note(&Note { content: Some(found.as_str().to_owned()), validator: None })?;
        fs::rename(&place.part, &place.whole).map_err(|error| failed("write", &place.whole, error))?;
        Ok(place.whole.clone())
    }
}

/// The expected content. A hub that announces another one than the pinned one is an error.
fn expected_content(file: HubFile, announced: &FileFacts) -> Result<ContentId, Error> {
    match (file.digest.pinned(), &announced.content) {
        (Some(pinned), Some(other @ ContentId::Sha256(_))) if pinned != *other => {
            let what = format!("the hub announces another {} than the one that is pinned", file.path);
            Err(protocol(&what).with_context("pinned", pinned).with_context("announced", other))
        }
        (Some(pinned), _) => Ok(pinned),
        (None, Some(announced)) => Ok(announced.clone()),
        (None, None) => {
            Err(protocol(&format!("the hub announces no digest of {}; check HF_ENDPOINT", file.path)))
        }
    }
}

fn cut(file: HubFile, done: u64) -> FailedTry {
    let what = format!("the connection was cut while {} came; check the network", file.path);
    FailedTry::again(Error::new(ErrorKind::Unavailable, what).with_context("bytes so far", done).temporary())
}

/// Where the bytes of a partial answer begin: `bytes 5-9/10`.
fn start_of(response: &Response) -> Option<u64> {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return None;
    }
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn header_number(value: Option<&reqwest::header::HeaderValue>) -> Option<u64> {
    value?.to_str().ok()?.parse().ok()
}
