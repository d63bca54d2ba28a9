//! A master, its replica, and sentinels that watch them.

use std::fmt::Write;
use std::fs;

use tempfile::TempDir;

use super::process::Process;
use super::resp::{Reply, talk};
use super::server::{RedisOptions, RedisServer, free_port, until};

/// A master, its replica, and sentinels that agree on which is which.
#[derive(Debug)]
pub struct RedisSentinels {
    /// The two servers; the sentinels know which is the master.
    pub servers: [RedisServer; 2],
    sentinels: Vec<(u16, Process)>,
    _folder: TempDir,
}

impl RedisSentinels {
    /// The name by which the sentinels know the master.
    pub const SERVICE: &str = "cache";

    /// Servers for a test, or `None`, with a note that the test is left out, where this machine has no Redis.
    ///
    /// # Panics
    ///
    /// If they can't be started, and `CI` or `EMBED_REQUIRE` is set.
    pub async fn require() -> Option<Self> {
        crate::require("redis-server", Self::start().await)
    }

    /// Starts two servers and three sentinels, which consider a master gone after 300 ms without an answer.
    ///
    /// # Errors
    ///
    /// Why it can't.
    pub async fn start() -> Result<Self, String> {
        let master = RedisServer::start(RedisOptions::default()).await?;
        let of_master = RedisOptions::default().with("replicaof", format!("127.0.0.1 {}", master.port()));
        let replica = RedisServer::start(of_master).await?;
        until("the replica is in step", || replica.info("master_link_status") == "up").await?;
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let port = free_port()?;
            let name = Self::SERVICE;
            let mut lines = format!(
                "port {port}\nbind 127.0.0.1\nlogfile /dev/null\nsentinel deny-scripts-reconfig yes\n"
            );
            let _ = write!(
                lines,
                "sentinel monitor {name} 127.0.0.1 {} 2\nsentinel down-after-milliseconds {name} 300\n\
                 sentinel failover-timeout {name} 2000\nsentinel parallel-syncs {name} 1\n",
                master.port()
            );
            // Sentinels write into their configuration.
            let file = folder.path().join(format!("{port}.conf"));
            fs::write(&file, lines).map_err(|error| error.to_string())?;
            // `redis-sentinel` is the same program under another name, in a separate package.
            let arguments = [file.display().to_string(), "--sentinel".to_owned()];
            sentinels.push((port, Process::start("redis-server", &arguments)?));
        }
        let all = Self { servers: [master, replica], sentinels, _folder: folder };
        until("the sentinels know each other and the replica", || {
            all.sentinels.iter().all(|(port, _)| {
                let master = talk(*port, &[&[b"SENTINEL", b"MASTER", Self::SERVICE.as_bytes()]]);
                let fact = |name| master.as_ref().ok().and_then(|reply| fact(reply, name));
                fact("num-other-sentinels").as_deref() == Some("2")
                    && fact("num-slaves").as_deref() == Some("1")
            })
        })
        .await?;
        Ok(all)
    }

    /// The URL of the master, whichever it is.
    #[must_use]
    pub fn url(&self) -> String {
        let [(first, _), others @ ..] = self.sentinels.as_slice() else {
            panic!("there are no sentinels");
        };
        let nodes: String = others.iter().map(|(port, _)| format!("&node=127.0.0.1:{port}")).collect();
        format!("redis-sentinel://127.0.0.1:{first}/0?sentinelServiceName={}{nodes}", Self::SERVICE)
    }

    /// Which of the servers all sentinels consider the master.
    #[must_use]
    pub fn master(&self) -> Option<usize> {
        let named: Vec<String> = self.sentinels.iter().map(|(port, _)| master_port(*port)).collect();
        self.servers.iter().position(|server| named.iter().all(|port| *port == server.port().to_string()))
    }

    /// Tells the sentinels to make the other server the master, and waits until they have.
    ///
    /// # Panics
    ///
    /// If they don't.
    pub async fn fail_over(&self) {
        let before = self.master();
        let (port, _) = self.sentinels[0];
        let reply = talk(port, &[&[b"SENTINEL", b"FAILOVER", Self::SERVICE.as_bytes()]]);
        assert_eq!(reply.ok(), Some(Reply::Status("OK".to_owned())));
        self.has_another_master(before).await;
        // Until it becomes a replica, the old one accepts writes, which are lost.
        let demoted = || {
            // The sentinels close the connections to it, that of this question among them.
            let port = before.map_or(0, |before| self.servers[before].port());
            let answer = talk(port, &[&[b"ROLE"]]).ok();
            answer
                .and_then(|answer| answer.list().first().map(Reply::text))
                .is_some_and(|role| role == "slave")
        };
        until("the old master is a replica", demoted).await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Waits until the sentinels consider the other server the master.
    ///
    /// # Panics
    ///
    /// If they don't.
    pub async fn has_another_master(&self, before: Option<usize>) {
        let another = || self.master().is_some() && self.master() != before;
        until("there is another master", another).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

fn master_port(sentinel: u16) -> String {
    let asked =
        talk(sentinel, &[&[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", RedisSentinels::SERVICE.as_bytes()]]);
    match asked {
        Ok(Reply::List(address)) => address.last().map(Reply::text).unwrap_or_default(),
        _ => String::new(),
    }
}

/// A value of a list of names and values.
fn fact(reply: &Reply, name: &str) -> Option<String> {
    let Reply::List(facts) = reply else { return None };
    facts.chunks(2).find(|fact| fact[0].text() == name).map(|fact| fact[1].text())
}
