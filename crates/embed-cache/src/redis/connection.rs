//! The connections: how they are made, kept up, and given up.

use std::time::Duration;

use embed_core::Error;
use fred::clients::{Client, Pool, WithOptions};
use fred::interfaces::{ClientLike, ClusterInterface};
use fred::types::config::{
    ConnectionConfig, Options, ReconnectPolicy, Server, TcpConfig, UnresponsiveConfig,
};
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

/// How long a connection may take to end in order.
const GOODBYE: Duration = Duration::from_secs(1);

/// Commands that may wait to be written to a connection. Each is one call of the tier; with callers that stop
/// waiting after milliseconds, so many wait only when the socket takes nothing any more.
const WAITING: usize = 1_024;

/// The connections of a tier. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Connections {
    pool: Pool,
    /// Its end tells the tasks that keep connections up to stop.
    _alive: watch::Sender<()>,
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
        let timeout = config.connect_timeout;
        let connection = ConnectionConfig {
            connection_timeout: timeout,
            internal_command_timeout: timeout,
            max_command_buffer_len: WAITING,
            // A server may be frozen, or gone without a word; its connection looks well for minutes.
            unresponsive: UnresponsiveConfig { max_timeout: Some(timeout), interval: timeout / 4 },
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        let mut again = ReconnectPolicy::new_exponential(0, FIRST_PAUSE, LONGEST_PAUSE, 2);
        again.set_jitter(PAUSE_JITTER);
        let pool = Pool::new(client, None, Some(connection), Some(again), config.connections)
            .map_err(|error| translated(&error))?;
        let (alive, watching) = watch::channel(());
        for client in pool.clients() {
            tokio::spawn(keep_up(client.clone(), watching.clone()));
        }
        Ok(Self { pool, _alive: alive })
    }

    /// A connection for one call: commands fail at once while there is none to the server, and are not sent
    /// again.
    pub(super) fn client(&self) -> WithOptions<Client> {
        self.pool.next().with_options(&Options { fail_fast: true, ..Options::default() })
    }

    /// The same for one node.
    pub(super) fn client_of(&self, node: Option<Server>) -> WithOptions<Client> {
        self.pool.next().with_options(&Options { fail_fast: true, cluster_node: node, ..Options::default() })
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.pool.is_clustered()
    }

    /// Every master of the cluster; `None` for the server where there is no cluster.
    pub(super) fn masters(&self) -> Vec<Option<Server>> {
        match self.pool.next().cached_cluster_state() {
            Some(state) if self.is_cluster() => state.unique_primary_nodes().into_iter().map(Some).collect(),
            _ => vec![None],
        }
    }

    /// Connects anew, so that the server's name or the sentinels lead to the master of now.
    pub(super) async fn renew(pool: Pool) {
        // Each connection goes on trying if this time it isn't met.
        let _ = pool.force_reconnection().await;
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// Keeps a client connected until its tier is gone.
async fn keep_up(client: Client, mut alive: watch::Receiver<()>) {
    loop {
        // It ends only at what the client takes for fatal, such as a redirection that leads nowhere.
        let mut connection = client.connect();
        tokio::select! {
            _ = alive.changed() => {
                let _ = timeout(GOODBYE, client.quit()).await;
                connection.abort();
                return;
            }
            _ = &mut connection => {
                sleep(Duration::from_millis(u64::from(PAUSE_JITTER))).await;
            }
        }
    }
}
