//! Connections to Redis: opening, keeping alive and replacing them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use embed_core::Error;
use fred::clients::{Client, WithOptions};
use fred::error::Error as ClientError;
use fred::interfaces::{ClientLike, ClusterInterface, EventInterface};
use fred::types::config::{
    ClusterDiscoveryPolicy, Config, ConnectionConfig, Options, ReconnectPolicy, Server, ServerConfig,
    TcpConfig, UnresponsiveConfig,
};
use futures::future::join_all;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::RedisConfig;
use super::failure::translated;

/// The backoff between attempts to connect, in milliseconds: it doubles from the first pause to the longest. A recovered
/// server is found within the longest.
const FIRST_PAUSE: u32 = 10;
const LONGEST_PAUSE: u32 = 1_000;
/// At most this much is added to a pause at random.
const PAUSE_JITTER: u32 = 50;

/// The pause after a broken client was replaced.
const REPLACE_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may take to close gracefully.
const GOODBYE: Duration = Duration::from_secs(1);

/// The connections of a tier. Dropping it closes them.
#[derive(Debug)]
pub(super) struct Connections {
    slots: Arc<[ConnectionSlot]>,
    /// The last reason why there was no connection.
    trouble: Arc<Trouble>,
    next: AtomicUsize,
    is_cluster: bool,
    /// Dropping it stops the tasks that keep the connections alive.
    _alive: watch::Sender<()>,
}

/// A connection, in a cluster one to each master. A broken client in it is replaced.
#[derive(Debug)]
struct ConnectionSlot(Mutex<Client>);

type Trouble = Mutex<Option<Error>>;

/// The settings that clients are created with.
#[derive(Debug)]
struct Blueprint {
    client: Config,
    connection: ConnectionConfig,
    again: ReconnectPolicy,
}

impl Blueprint {
    fn client(&self) -> Client {
        self.with(self.client.clone())
    }

    /// A client that replaces a broken one. It knows the cluster nodes that the old one had found, since those in the URL
    /// may be gone.
    fn successor(&self, old: &Client) -> Client {
        let mut config = self.client.clone();
        if let ServerConfig::Clustered { hosts, .. } = &mut config.server
            && let Some(found) = old.cached_cluster_state()
        {
            hosts.extend(found.unique_primary_nodes());
            hosts.sort();
            hosts.dedup();
        }
        self.with(config)
    }

    fn with(&self, config: Config) -> Client {
        Client::new(config, None, Some(self.connection.clone()), Some(self.again.clone()))
    }
}

impl ConnectionSlot {
    fn client(&self) -> Client {
        self.lock().clone()
    }

    fn replace(&self, make: &Blueprint) {
        let mut client = self.lock();
        *client = make.successor(&client);
    }

    fn lock(&self) -> MutexGuard<'_, Client> {
        lock(&self.0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    /// Begins to connect, and returns before it is connected.
    pub(super) fn start(config: &RedisConfig) -> Result<Self, Error> {
        let mut client = config.url.config()?;
        if let ServerConfig::Clustered { policy, .. } = &mut client.server {
            // The nodes in the URL may be gone for good while others have taken over.
            *policy = ClusterDiscoveryPolicy::UseCache;
        }
        // Otherwise the first attempt would be the only one.
        client.fail_fast = false;
        #[cfg(feature = "redis-rustls")]
        if config.url.uses_tls() {
            client.tls = Some(super::tls::settings(config)?);
        }
        let patience = config.connect_timeout;
        let connection = ConnectionConfig {
            connection_timeout: patience,
            internal_command_timeout: patience,
            // When it follows an ASK, the client (fred 10.1) mistakes another command's answer for the ASKING's and sends
            // the key back to where it came from, until it gives up the connection. A MOVED still refreshes its map of
            // the cluster; only the command that was redirected fails.
            max_redirections: 0,
            // The connection to a server that froze or vanished looks healthy for minutes.
            unresponsive: UnresponsiveConfig { max_timeout: Some(patience), interval: patience / 4 },
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        let mut again = ReconnectPolicy::new_exponential(0, FIRST_PAUSE, LONGEST_PAUSE, 2);
        again.set_jitter(PAUSE_JITTER);
        let is_cluster = client.server.is_clustered();
        let make = Arc::new(Blueprint { client, connection, again });
        let slots: Arc<[ConnectionSlot]> =
            (0..config.connections).map(|_| ConnectionSlot(Mutex::new(make.client()))).collect();
        let (alive, watching) = watch::channel(());
        let trouble = Arc::<Trouble>::default();
        for index in 0..slots.len() {
            let slot = Upkeep {
                make: Arc::clone(&make),
                slots: Arc::clone(&slots),
                index,
                patience,
                trouble: Arc::clone(&trouble),
            };
            tokio::spawn(slot.keep_up(watching.clone()));
        }
        Ok(Self { slots, trouble, next: AtomicUsize::new(0), is_cluster, _alive: alive })
    }

    /// Why there is no connection; `None` if there is one, or the reason isn't known.
    pub(super) fn trouble(&self) -> Option<Error> {
        let is_connected = self.slots.iter().any(|slot| slot.client().is_connected());
        if is_connected { None } else { lock(&self.trouble).clone() }
    }

    /// The next client, a connected one if possible.
    pub(super) fn any(&self) -> Client {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let (before, after) = self.slots.split_at(first);
        let mut clients = after.iter().chain(before).map(ConnectionSlot::client);
        let connected = clients.find(ClientLike::is_connected);
        connected.unwrap_or_else(|| self.slots[first].client())
    }

    /// A client for one call: without a connection its commands fail at once and aren't sent later.
    pub(super) fn client(&self) -> WithOptions<Client> {
        self.client_of(None)
    }

    /// Like [`client`](Self::client), for one node of a cluster.
    pub(super) fn client_of(&self, node: Option<Server>) -> WithOptions<Client> {
        self.any().with_options(&Options { fail_fast: true, cluster_node: node, ..Options::default() })
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// Every master of the cluster; a single `None` for the server if there is no cluster.
    pub(super) fn masters(&self) -> Vec<Option<Server>> {
        match self.any().cached_cluster_state() {
            Some(state) if self.is_cluster => state.unique_primary_nodes().into_iter().map(Some).collect(),
            _ => vec![None],
        }
    }

    /// Reconnects, so that the server's name or the sentinels lead to the current master.
    pub(super) fn renew(&self) -> impl Future<Output = ()> + Send + 'static {
        let clients: Vec<Client> = self.slots.iter().map(ConnectionSlot::client).collect();
        async move {
            // If this fails, each connection goes on trying.
            join_all(clients.iter().map(ClientLike::force_reconnection)).await;
        }
    }
}

/// The task that keeps a slot connected.
struct Upkeep {
    make: Arc<Blueprint>,
    slots: Arc<[ConnectionSlot]>,
    index: usize,
    patience: Duration,
    trouble: Arc<Trouble>,
}

impl Upkeep {
    /// Keeps the slot connected until its tier is dropped.
    async fn keep_up(self, mut alive: watch::Receiver<()>) {
        let Self { make, slots, index, patience, trouble } = self;
        loop {
            let client = slots[index].client();
            let recorder = record_failures(client.error_rx(), &trouble);
            let mut connection = client.connect();
            tokio::select! {
                _ = alive.changed() => {
                    let _ = timeout(GOODBYE, client.quit()).await;
                    connection.abort();
                    return;
                }
                // It ends only on an error that the client considers fatal, such as a server that isn't a cluster.
                ended = &mut connection => {
                    if let Ok(Err(error)) = ended {
                        *lock(&trouble) = Some(translated(&error));
                    }
                }
                () = recorder => {}
                // A client that can't write, because a frozen server's socket is full, doesn't notice that by itself.
                () = hangs(&client, patience * 2) => connection.abort(),
            }
            // Commands queued in the old client are never answered, and would distort its count of them. The new client
            // isn't connected, so commands fail at once.
            slots[index].replace(&make);
            sleep(REPLACE_PAUSE).await;
        }
    }
}

/// Stores a client's last failure to connect. It never ends.
async fn record_failures(mut failures: Receiver<(ClientError, Option<Server>)>, trouble: &Trouble) {
    loop {
        match failures.recv().await {
            Ok((failure, _)) => *lock(trouble) = Some(translated(&failure)),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Ends when a connected client executes nothing for this long.
async fn hangs(client: &Client, limit: Duration) {
    let client = client.with_options(&Options { fail_fast: true, ..Options::default() });
    loop {
        sleep(limit / 2).await;
        if timeout(limit, client.ping::<()>(None)).await.is_err() {
            return;
        }
    }
}
