//! A double of the Hugging Face hub: its file layout, its headers, and the ways in which it fails.
//!
//! Two servers on loopback: the hub itself, and the store of large files that it redirects to. Faults are
//! scripted one by one, so that a test says exactly which request fails and how.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_RANGE, LOCATION,
};
use axum::http::header::{RANGE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri};
use futures::{StreamExt, stream};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::lock::lock;

const X_REPO_COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
const X_LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const X_LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");

/// The two servers. They end when this is dropped.
pub struct HubDouble {
    hub: SocketAddr,
    shared: Arc<Shared>,
    servers: [JoinHandle<()>; 2],
}

/// Which of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The one that is asked first.
    Hub,
    /// The one that holds large files.
    Store,
}

/// What goes wrong with one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The answer has this status, and `Retry-After` in seconds if there is one.
    Status(u16, Option<u64>),
    /// The connection ends after this many bytes of the answer.
    Cut(usize),
    /// The request is read and nothing ever comes back.
    Silence,
    /// The number of bytes is right and their content is wrong.
    WrongBytes,
    /// The hub says that this is the commit.
    WrongCommit(String),
    /// The answer isn't the hub's, as when a portal asks for a log-in.
    Stranger,
}

/// A request that came.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The server that it went to.
    pub place: Place,
    /// As it came: with scheme and host if it was sent to a proxy.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
}

#[derive(Debug, Clone)]
struct StoredFile {
    bytes: Bytes,
    commit: String,
    large: bool,
}

struct Shared {
    store: SocketAddr,
    files: Mutex<HashMap<String, StoredFile>>,
    faults: Mutex<HashMap<(Place, String), VecDeque<Fault>>>,
    token: Mutex<Option<String>>,
    requests: Mutex<Vec<Recorded>>,
    count: watch::Sender<usize>,
}

impl HubDouble {
    /// Starts both servers on ports that are free.
    ///
    /// # Panics
    ///
    /// If loopback has no free port.
    pub async fn start() -> Self {
        let [hub, store] = [listen().await, listen().await];
        let address = |listener: &TcpListener| listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            store: address(&store),
            files: Mutex::default(),
            faults: Mutex::default(),
            token: Mutex::default(),
            requests: Mutex::default(),
            count: watch::Sender::new(0),
        });
        let hub_address = address(&hub);
        let servers = [(hub, Place::Hub), (store, Place::Store)].map(|(listener, place)| {
            let shared = Arc::clone(&shared);
            let router = Router::new().fallback(answer).with_state((shared, place));
            tokio::spawn(async move {
                // It ends when it is dropped; a failing accept shows in the test that sends the request.
                let _ = axum::serve(listener, router).await;
            })
        });
        Self { hub: hub_address, shared, servers }
    }

    /// What `HF_ENDPOINT` should be.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    /// Adds a small file, which the hub itself serves. `path` is its path in the repository.
    pub fn put(&self, repository: &str, commit: &str, path: &str, bytes: impl Into<Bytes>) {
        self.insert(repository, commit, path, bytes.into(), false);
    }

    /// Adds a large file: the hub redirects requests for it to the store.
    pub fn put_large(&self, repository: &str, commit: &str, path: &str, bytes: impl Into<Bytes>) {
        self.insert(repository, commit, path, bytes.into(), true);
    }

    fn insert(&self, repository: &str, commit: &str, path: &str, bytes: Bytes, large: bool) {
        let key = format!("/{repository}/resolve/{commit}/{path}");
        lock(&self.shared.files).insert(key, StoredFile { bytes, commit: commit.to_owned(), large });
    }

    /// Makes requests for a file (the end of its path) fail, each with the next fault, before they succeed.
    pub fn script(&self, place: Place, path: &str, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.shared.faults).entry((place, path.to_owned())).or_default().extend(faults);
    }

    /// Refuses requests without this token.
    pub fn require_token(&self, token: &str) {
        *lock(&self.shared.token) = Some(token.to_owned());
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.shared.requests).clone()
    }

    /// The requests to one server for a file (the end of its path).
    #[must_use]
    pub fn requests_for(&self, place: Place, path: &str) -> Vec<Recorded> {
        let mut requests = self.requests();
        requests.retain(|request| request.place == place && request.uri.path().ends_with(path));
        requests
    }

    /// Waits until this many requests have come.
    pub async fn reached(&self, count: usize) {
        let mut seen = self.shared.count.subscribe();
        // The sender lives as long as this double.
        let _ = seen.wait_for(|seen| *seen >= count).await;
    }
}

impl fmt::Debug for HubDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubDouble").field("hub", &self.hub).field("store", &self.shared.store).finish()
    }
}

impl Drop for HubDouble {
    fn drop(&mut self) {
        self.servers.iter().for_each(JoinHandle::abort);
    }
}

impl Recorded {
    /// A header's value, if it is there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Shared {
    /// The next fault of the file that this path ends in.
    fn fault(&self, place: Place, path: &str) -> Option<Fault> {
        let mut faults = lock(&self.faults);
        let mut scripted =
            faults.iter_mut().filter(|((at, end), _)| *at == place && path.ends_with(end.as_str()));
        scripted.find_map(|(_, queue)| queue.pop_front())
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port")
}

/// SHA-256 in hexadecimal, as the hub names large files.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The id that git gives a blob of these bytes, as the hub names all other files.
#[must_use]
pub fn git_blob(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn answer(State((shared, place)): State<(Arc<Shared>, Place)>, request: Request) -> Response<Body> {
    let (uri, headers) = (request.uri().clone(), request.headers().clone());
    // A client that uses the hub as its proxy also asks it for the store's files.
    let place = if uri.path().starts_with("/store/") { Place::Store } else { place };
    lock(&shared.requests).push(Recorded { place, uri: uri.clone(), headers: headers.clone() });
    shared.count.send_modify(|count| *count += 1);
    // The store's paths are those of the hub with `/store` in front, so that one map serves both.
    let path = uri.path().strip_prefix("/store").unwrap_or(uri.path());
    let fault = shared.fault(place, path);
    match fault {
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Status(status, after)) => {
            let mut response = status_only(StatusCode::from_u16(status).expect("a scripted status is one"));
            if let Some(after) = after {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after));
            }
            return response;
        }
        Some(Fault::Stranger) => return Response::new(Body::from("<html>please log in</html>")),
        _ => {}
    }
    let found = lock(&shared.files).get(path).cloned();
    if place == Place::Hub {
        let expected = lock(&shared.token).as_ref().map(|token| format!("Bearer {token}"));
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if expected.is_some() && given != expected.as_deref() {
            return status_only(StatusCode::UNAUTHORIZED);
        }
    }
    let Some(file) = found else {
        return status_only(StatusCode::NOT_FOUND);
    };
    let mut response = if place == Place::Hub && file.large {
        redirect(&file, &format!("http://{}/store{path}?signature=secret", shared.store))
    } else {
        content(&file, &headers, fault.as_ref())
    };
    if place == Place::Hub {
        let commit = match &fault {
            Some(Fault::WrongCommit(commit)) => commit,
            _ => &file.commit,
        };
        response
            .headers_mut()
            .insert(X_REPO_COMMIT, HeaderValue::from_str(commit).expect("a commit is ASCII"));
    }
    response
}

fn status_only(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn redirect(file: &StoredFile, to: &str) -> Response<Body> {
    let mut response = status_only(StatusCode::FOUND);
    let headers = response.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_str(to).expect("the address of the store is ASCII"));
    headers.insert(X_LINKED_ETAG, etag(file));
    headers.insert(X_LINKED_SIZE, HeaderValue::from(file.bytes.len()));
    response
}

/// What the hub calls the content of a file: SHA-256 for large ones, git's id of the blob for all others.
fn etag(file: &StoredFile) -> HeaderValue {
    let id = if file.large { sha256(&file.bytes) } else { git_blob(&file.bytes) };
    HeaderValue::from_str(&format!("\"{id}\"")).expect("a digest is ASCII")
}

/// The bytes of a file, from the requested offset on.
fn content(file: &StoredFile, request: &HeaderMap, fault: Option<&Fault>) -> Response<Body> {
    let total = file.bytes.len();
    let same = request.get(IF_RANGE).is_none_or(|validator| *validator == etag(file));
    let start = request.get(RANGE).filter(|_| same).and_then(|range| {
        range.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
    });
    if start.is_some_and(|start| start >= total) {
        return status_only(StatusCode::RANGE_NOT_SATISFIABLE);
    }
    let mut bytes = file.bytes.slice(start.unwrap_or(0)..);
    if fault == Some(&Fault::WrongBytes) {
        bytes = bytes.iter().map(|byte| !byte).collect();
    }
    let length = bytes.len();
    let body = match fault {
        Some(Fault::Cut(after)) => {
            let first = bytes.slice(..(*after).min(length));
            // The announced length is more than what comes, so the server ends the connection.
            // It sends what it has when the stream is pending once, and drops it on an error.
            let cut = stream::once(async {
                tokio::task::yield_now().await;
                Err(io::Error::other("scripted cut"))
            });
            Body::from_stream(stream::once(async { Ok(first) }).chain(cut))
        }
        _ => Body::from(bytes),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(ETAG, etag(file));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(start) = start {
        let range = format!("bytes {start}-{}/{total}", total - 1);
        headers.insert(CONTENT_RANGE, HeaderValue::from_str(&range).expect("numbers are ASCII"));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}
