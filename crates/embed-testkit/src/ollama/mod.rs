//! A double of an Ollama server: it behaves as a version does, and fails as a test says.
//!
//! It follows the specification of the versions and not the client, so that a wrong assumption of the client shows.
//! `embed-ollama`'s tests compare it with real servers.

mod answer;
mod embed;
mod errors;
mod fault;
mod recorded;
pub mod rig;
mod runner;
mod script;
mod shared;
mod version;
pub mod words;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::lock::lock;
pub use fault::{Fault, RowsFault};
pub use recorded::Recorded;
pub use script::Script;
use shared::Shared;

/// A server. It ends when this is dropped, and cuts its connections as Ollama does.
pub struct OllamaDouble {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl OllamaDouble {
    /// Starts a server of a version, which has `all-minilm` and hasn't loaded it.
    ///
    /// # Panics
    ///
    /// If loopback has no free port.
    pub async fn start(version: &str) -> Self {
        Self::start_at(version, 0).await
    }

    /// The same on a given port, such as that of an earlier one.
    ///
    /// # Panics
    ///
    /// If the port isn't free.
    pub async fn start_at(version: &str, port: u16) -> Self {
        let listener = listen(port).await;
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::new(Script::of(version)));
        let router = Router::new()
            .fallback(answer::answer)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Arc::clone(&shared));
        Self { address, shared, task: tokio::spawn(serve(listener, router)) }
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes its state and behaviour.
    pub fn change(&self, change: impl FnOnce(&mut Script)) {
        change(&mut lock(&self.shared.script));
    }

    /// Makes the next requests to embed fail, each with the next fault.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.shared.faults).extend(faults);
    }

    /// Forgets the faults that weren't used yet.
    pub fn heal(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Forgets the requests that came.
    pub fn forget(&self) {
        lock(&self.shared.requests).clear();
    }

    /// Unloads the model, as the end of its keep-alive does.
    pub fn unload(&self) {
        self.shared.runner.unload();
    }

    /// Loads that began.
    #[must_use]
    pub fn loads(&self) -> usize {
        self.shared.runner.loads()
    }

    /// Loads that were aborted because the client hung up.
    #[must_use]
    pub fn aborted_loads(&self) -> usize {
        self.shared.runner.aborted_loads()
    }

    /// The largest number of requests to embed at the same time.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::SeqCst)
    }

    /// Texts that were embedded.
    #[must_use]
    pub fn texts(&self) -> usize {
        self.shared.texts.load(Ordering::SeqCst)
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.shared.requests).clone()
    }

    /// The requests for a path.
    #[must_use]
    pub fn requests_for(&self, path: &str) -> Vec<Recorded> {
        let mut requests = self.requests();
        requests.retain(|request| request.path == path);
        requests
    }

    /// Waits until this many requests have come since the start, of all kinds.
    pub async fn reached(&self, count: usize) {
        let mut seen = self.shared.count.subscribe();
        // The sender lives as long as this double.
        let _ = seen.wait_for(|seen| *seen >= count).await;
    }

    /// The vector that it returns for a text while `drift` is 0.
    #[must_use]
    pub fn vector_of(&self, text: &str) -> Vec<f32> {
        let dimension = lock(&self.shared.script).dimension;
        words::vector(text, dimension, 0.0)
    }
}

impl fmt::Debug for OllamaDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OllamaDouble")
            .field("address", &self.address)
            .field("script", &self.shared.script)
            .finish_non_exhaustive()
    }
}

impl Drop for OllamaDouble {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves until the task is aborted, which cuts the connections, too.
pub(crate) async fn serve(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        // A failing accept shows in the test that sends the request.
        let Ok((stream, _)) = listener.accept().await else { continue };
        // Small packets are sent without the system's delay.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// A port that a double has just left may take a moment to become free.
pub(crate) async fn listen(port: u16) -> TcpListener {
    let mut tries = 0;
    loop {
        match TcpListener::bind(("127.0.0.1", port)).await {
            Ok(listener) => return listener,
            Err(error) if port != 0 && tries < 200 => {
                assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "loopback doesn't work");
                tries += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("loopback has no such port free: {error}"),
        }
    }
}
