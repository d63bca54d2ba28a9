//! The connections: how they are made, kept up, and given up.

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
    /// Why there is no connection, as it was last said.
    trouble: Arc<Trouble>,
    next: AtomicUsize,
    is_cluster: bool,
    /// Its end tells the tasks that keep connections up to stop.
    _alive: watch::Sender<()>,
}

/// A connection, to each master where there is a cluster. The client in it is replaced when it is beyond help.
#[derive(Debug)]
struct Slot(Mutex<Client>);

type Trouble = Mutex<Option<Error>>;

/// What clients are made of.
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

    /// A client in place of one that is beyond help. It knows the nodes of a cluster that the old one had found, since
    /// those that the URL names may be gone.
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

impl Slot {
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
    /// Begins to connect, and returns before it has.
    pub(super) fn start(config: &RedisConfig) -> Result<Self, Error> {
        let mut client = config.url.config()?;
        if let ServerConfig::Clustered { policy, .. } = &mut client.server {
            // The nodes that the URL names may be gone for good while others have taken over.
            *policy = ClusterDiscoveryPolicy::UseCache;
        }
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
        let make = Arc::new(Blueprint { client, connection, again });
        let slots: Arc<[Slot]> = (0..config.connections).map(|_| Slot(Mutex::new(make.client()))).collect();
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

    /// Why there is no connection; `None` if there is one, or nothing has been said.
    pub(super) fn trouble(&self) -> Option<Error> {
        let is_connected = self.slots.iter().any(|slot| slot.client().is_connected());
        if is_connected { None } else { lock(&self.trouble).clone() }
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

/// What it takes to keep a slot connected.
struct Upkeep {
    make: Arc<Blueprint>,
    slots: Arc<[Slot]>,
    index: usize,
    patience: Duration,
    trouble: Arc<Trouble>,
}

impl Upkeep {
    /// Keeps the slot connected until its tier is gone.
    async fn keep_up(self, mut alive: watch::Receiver<()>) {
        let Self { make, slots, index, patience, trouble } = self;
        loop {
            let client = slots[index].client();
            let heard = hear(client.error_rx(), &trouble);
            let mut connection = client.connect();
            tokio::select! {
                _ = alive.changed() => {
                    let _ = timeout(GOODBYE, client.quit()).await;
                    connection.abort();
                    return;
                }
                // It ends only at what the client takes for fatal, such as a server that is no cluster.
                ended = &mut connection => {
                    if let Ok(Err(error)) = ended {
                        *lock(&trouble) = Some(translated(&error));
                    }
                }
                () = heard => {}
                // A client that can't write, because a frozen server's socket is full, notices nothing else either.
                () = hangs(&client, patience * 2) => connection.abort(),
            }
            // What waits in the old one is never answered, and its count of it would mislead it. The new one isn't
            // connected, so that commands fail at once.
            slots[index].replace(&make);
            sleep(REPLACE_PAUSE).await;
        }
    }
}

/// Keeps what a client last said of its failures to connect. It never ends.
async fn hear(mut failures: Receiver<(ClientError, Option<Server>)>, trouble: &Trouble) {
    loop {
        match failures.recv().await {
            Ok((failure, _)) => *lock(trouble) = Some(translated(&failure)),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
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
