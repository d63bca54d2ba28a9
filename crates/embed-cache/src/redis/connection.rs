//! The connections: how they are made, kept up, and given up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use embed_core::Error;
use fred::clients::{Client, WithOptions};
use fred::interfaces::{ClientLike, ClusterInterface};
use fred::types::config::{
    ConnectionConfig, Options, ReconnectPolicy, Server, TcpConfig, UnresponsiveConfig,
};
use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::RedisConfig;

/// The pauses between tries to connect, in milliseconds: they double from the first to the longest. A server that
/// is back is found within the longest.
const FIRST_PAUSE: u32 = 10;
const LONGEST_PAUSE: u32 = 1_000;
/// So much is added at random to a pause.
const PAUSE_JITTER: u32 = 50;

/// The pause before a client that was beyond help is followed by another one.
const REPLACE_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may take to end in order.
const GOODBYE: Duration = Duration::from_secs(1);

/// The connections of a tier. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Connections {
    slots: Arc<[Slot]>,
    next: AtomicUsize,
    is_cluster: bool,
    /// Its end tells the tasks that keep connections up to stop.
    _alive: watch::Sender<()>,
}

/// A connection, to each master where there is a cluster. The client in it is replaced when it is beyond help.
#[derive(Debug)]
struct Slot(Mutex<Client>);

impl Slot {
    fn client(&self) -> Client {
        self.lock().clone()
    }

    fn replace(&self) {
        let mut client = self.lock();
        *client = client.clone_new();
    }

    fn lock(&self) -> MutexGuard<'_, Client> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    /// Begins to connect, and returns before it has.
    pub(super) fn start(config: &RedisConfig) -> Result<Self, Error> {
        let mut client = config.url.config()?;
        // Otherwise the first try would be the only one.
        client.fail_fast = false;
        #[cfg(feature = "redis-rustls")]
        if config.url.uses_tls() {
            client.tls = Some(super::tls::settings(config)?);
        }
        let patience = config.connect_timeout;
        let connection = ConnectionConfig {
            connection_timeout: patience,
            internal_command_timeout: patience,
            // The client's way to follow an ASK (fred 10.1) takes another command's answer for its own and sends the
            // key back to where it came from, until it gives the connection up. A MOVED still renews its map of the
            // cluster; only the command that met it fails.
            max_redirections: 0,
            // A server may be frozen, or gone without a word; its connection looks well for minutes.
            unresponsive: UnresponsiveConfig { max_timeout: Some(patience), interval: patience / 4 },
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        let mut again = ReconnectPolicy::new_exponential(0, FIRST_PAUSE, LONGEST_PAUSE, 2);
        again.set_jitter(PAUSE_JITTER);
        let is_cluster = client.server.is_clustered();
        let first = Client::new(client, None, Some(connection), Some(again));
        let slots: Arc<[Slot]> =
            (0..config.connections).map(|_| Slot(Mutex::new(first.clone_new()))).collect();
        let (alive, watching) = watch::channel(());
        for index in 0..slots.len() {
            tokio::spawn(keep_up(Arc::clone(&slots), index, patience, watching.clone()));
        }
        Ok(Self { slots, next: AtomicUsize::new(0), is_cluster, _alive: alive })
    }

    /// The next connection, one that is connected if there is one.
    pub(super) fn any(&self) -> Client {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let (before, after) = self.slots.split_at(first);
        let mut clients = after.iter().chain(before).map(Slot::client);
        let connected = clients.find(ClientLike::is_connected);
        connected.unwrap_or_else(|| self.slots[first].client())
    }

    /// A connection for one call: commands fail at once while there is none to the server, and are not sent again.
    pub(super) fn client(&self) -> WithOptions<Client> {
        self.client_of(None)
    }

    /// The same for one node of a cluster.
    pub(super) fn client_of(&self, node: Option<Server>) -> WithOptions<Client> {
        self.any().with_options(&Options { fail_fast: true, cluster_node: node, ..Options::default() })
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// Every master of the cluster; `None` for the server where there is no cluster.
    pub(super) fn masters(&self) -> Vec<Option<Server>> {
        match self.any().cached_cluster_state() {
            Some(state) if self.is_cluster => state.unique_primary_nodes().into_iter().map(Some).collect(),
            _ => vec![None],
        }
    }

    /// Connects anew, so that the server's name or the sentinels lead to the master of now.
    pub(super) fn renew(&self) -> impl Future<Output = ()> + Send + 'static {
        let clients: Vec<Client> = self.slots.iter().map(Slot::client).collect();
        async move {
            // Each connection goes on trying if this time it isn't met.
            join_all(clients.iter().map(ClientLike::force_reconnection)).await;
        }
    }
}

/// Keeps a slot connected until its tier is gone.
async fn keep_up(slots: Arc<[Slot]>, index: usize, patience: Duration, mut alive: watch::Receiver<()>) {
    loop {
        let client = slots[index].client();
        let mut connection = client.connect();
        tokio::select! {
            _ = alive.changed() => {
                let _ = timeout(GOODBYE, client.quit()).await;
                connection.abort();
                return;
            }
            // It ends only at what the client takes for fatal, such as a server that is no cluster.
            _ = &mut connection => {}
            // A client that can't write, because a frozen server's socket is full, notices nothing else either.
            () = hangs(&client, patience * 2) => connection.abort(),
        }
        // What waits in the old one is never answered, and its count of it would mislead it. The new one isn't
        // connected, so that commands fail at once.
        slots[index].replace();
        sleep(REPLACE_PAUSE).await;
    }
}

/// Ends when a connected client carries nothing out for this long.
async fn hangs(client: &Client, limit: Duration) {
    let client = client.with_options(&Options { fail_fast: true, ..Options::default() });
    loop {
        sleep(limit / 2).await;
        if timeout(limit, client.ping::<()>(None)).await.is_err() {
            return;
        }
    }
}
