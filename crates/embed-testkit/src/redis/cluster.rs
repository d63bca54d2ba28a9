//! A cluster of three masters.

use super::server::{RedisOptions, RedisServer, free_port, until};

/// A cluster of three masters without replicas.
#[derive(Debug)]
pub struct RedisCluster {
    /// The masters; each begins with a third of the slots.
    pub masters: [RedisServer; 3],
}

/// The slots that the masters begin with, each up to the next one's first.
const FIRST_SLOTS: [u16; 4] = [0, 5461, 10923, 16384];

impl RedisCluster {
    /// A cluster for a test, or `None`, with a note that the test is left out, where this machine has no Redis.
    ///
    /// # Panics
    ///
    /// If it can't be started, and `CI` or `EMBED_REQUIRE` is set.
    pub async fn require() -> Option<Self> {
        crate::require("redis-server", Self::start().await)
    }

    /// Starts it and waits until all masters report that it is healthy.
    ///
    /// # Errors
    ///
    /// Why it can't.
    pub async fn start() -> Result<Self, String> {
        let node = || async {
            // The bus has a separate port, by default 10000 higher, which may be taken or beyond the last port.
            let options = RedisOptions::default()
                .with("cluster-enabled", "yes")
                .with("cluster-port", free_port()?)
                .with("cluster-node-timeout", 2000);
            RedisServer::start(options).await
        };
        let cluster = Self { masters: [node().await?, node().await?, node().await?] };
        let [first, others @ ..] = &cluster.masters;
        for (master, slots) in cluster.masters.iter().zip(FIRST_SLOTS.windows(2)) {
            master.tell(&format!("CLUSTER ADDSLOTSRANGE {} {}", slots[0], slots[1] - 1));
        }
        for (other, epoch) in others.iter().zip(2..) {
            // Nodes with the same epoch would first have to settle which is newer.
            other.tell(&format!("CLUSTER SET-CONFIG-EPOCH {epoch}"));
            let bus = other.tell("CONFIG GET cluster-port").list()[1].text();
            first.tell(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port()));
        }
        let healthy = |master: &RedisServer| {
            let info = master.tell("CLUSTER INFO").text();
            info.contains("cluster_state:ok") && info.contains("cluster_size:3")
        };
        until("the cluster is healthy", || cluster.masters.iter().all(healthy)).await?;
        Ok(cluster)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        let [first, others @ ..] = &self.masters;
        let nodes: Vec<String> =
            others.iter().map(|other| format!("node=127.0.0.1:{}", other.port())).collect();
        format!("redis-cluster://127.0.0.1:{}?{}", first.port(), nodes.join("&"))
    }

    /// The slot of a key.
    #[must_use]
    pub fn slot(&self, key: &[u8]) -> u16 {
        let slot = self.masters[0].command(&[b"CLUSTER", b"KEYSLOT", key]).number();
        u16::try_from(slot).unwrap_or_else(|_| panic!("{slot} is no slot"))
    }

    /// The master that has a slot at the start.
    #[must_use]
    pub fn first_owner(slot: u16) -> usize {
        FIRST_SLOTS.iter().rposition(|first| *first <= slot).unwrap_or(0)
    }

    /// Begins to move a slot: from now on each of its keys is on one of the two nodes, and clients are redirected by `ASK`.
    ///
    /// # Panics
    ///
    /// If Redis refuses it.
    pub fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (&self.masters[from], &self.masters[to]);
        target.tell(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(source)));
        source.tell(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(target)));
    }

    /// Moves up to `limit` keys of a slot; returns how many were moved.
    ///
    /// # Panics
    ///
    /// If Redis refuses it.
    pub fn move_keys(&self, slot: u16, from: usize, to: usize, limit: usize) -> usize {
        let (source, target) = (&self.masters[from], &self.masters[to]);
        let keys = source.tell(&format!("CLUSTER GETKEYSINSLOT {slot} {limit}"));
        let port = target.port().to_string();
        for key in keys.list() {
            let command: [&[u8]; 6] = [b"MIGRATE", b"127.0.0.1", port.as_bytes(), key.bytes(), b"0", b"5000"];
            assert_eq!(source.command(&command).text(), "OK");
        }
        keys.list().len()
    }

    /// Ends a move: the slot belongs to the target, and clients are redirected by `MOVED`.
    ///
    /// # Panics
    ///
    /// If Redis refuses it.
    pub fn end_move(&self, slot: u16, to: usize) {
        let target = id(&self.masters[to]);
        // The new owner first, so that no slot is without one.
        let others = (0..self.masters.len()).filter(|index| *index != to);
        for index in std::iter::once(to).chain(others) {
            self.masters[index].tell(&format!("CLUSTER SETSLOT {slot} NODE {target}"));
        }
    }
}

fn id(master: &RedisServer) -> String {
    master.tell("CLUSTER MYID").text()
}
