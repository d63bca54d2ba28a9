//! The tier in Redis: one server, a server behind sentinels, or a cluster.

mod config;
mod connection;
mod failure;
mod keyspace;
#[cfg(feature = "redis-rustls")]
mod tls;
mod url;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use embed_core::{Error, ErrorKind, Result, Role, Truncation, async_trait};
use fred::bytes::Bytes;
use fred::error::Error as ClientError;
use fred::interfaces::{ClientLike, EventInterface, KeysInterface};
use fred::types::config::Server;
use fred::types::{ClusterHash, CustomCommand, Expiration, FromValue, Value as Answer};
use futures::future::{join_all, try_join3};
use serde::Serialize;
use tokio::time::{sleep, timeout};

pub use config::RedisConfig;
pub use url::RedisUrl;

use self::connection::Connections;
use self::failure::{is_readonly, is_redirection, is_wrong_type, translated};
use self::keyspace::{Keyspace, pattern};
use crate::{Key, Namespace, Tier, TierStats, Value};

/// How many keys Redis scans for one page of a `SCAN`: some hundred microseconds of its only thread.
const PAGE: i64 = 1_000;

/// The most commands that are pipelined at once. With more, other callers' commands on the same connection would wait long.
const AT_ONCE: usize = 512;

/// How often connections are replaced at most after a replica refused a write, because that fails reads in flight.
const RENEW_PAUSE: Duration = Duration::from_secs(1);

/// How often [`RedisTier::ready`] polls.
const READY_LOOK: Duration = Duration::from_millis(100);

/// A tier in Redis. Dropping it closes its connections.
///
/// While there is no connection, every call fails at once with [`ErrorKind::Unavailable`] instead of waiting for the
/// server. Reconnection is tried for ever, at least once a second, so that a recovered server is used again. In a cluster,
/// the connections to all masters count as one.
///
/// Each connection is checked by a `PING` once per [`RedisConfig::connect_timeout`], and replaced if it makes no progress
/// for twice as long.
///
/// A command whose future is dropped may still be executed; its answer is discarded.
pub struct RedisTier {
    connections: Connections,
    keys: Keyspace,
    url: RedisUrl,
    name: String,
    /// The connections are being replaced, or were a moment ago.
    renewing: Arc<AtomicBool>,
}

/// The entries in Redis under a prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Census {
    /// Entries by the id of their variant.
    pub variants: BTreeMap<String, u64>,
    /// Keys under the prefix that this version doesn't know.
    pub unknown: u64,
}

impl RedisTier {
    /// Begins to connect, and returns before it is connected; [`ready`](Self::ready) waits for that.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a setting is invalid, a certificate file can't be read, or this isn't called from within a
    /// Tokio runtime.
    pub fn connect(config: RedisConfig) -> Result<Self> {
        config.check()?;
        if tokio::runtime::Handle::try_current().is_err() {
            let what = "the Redis tier has to be connected from within a Tokio runtime";
            return Err(Error::new(ErrorKind::Config, what));
        }
        Ok(Self {
            connections: Connections::start(&config)?,
            keys: Keyspace::new(&config.prefix, config.ttl),
            url: config.url,
            name: config.name,
            renewing: Arc::default(),
        })
    }

    /// Waits until it is connected.
    ///
    /// # Errors
    ///
    /// The reason: at once if waiting doesn't help ([`ErrorKind::Unauthorized`] for a wrong password,
    /// [`ErrorKind::Config`] for a missing database), else after `limit`.
    pub async fn ready(&self, limit: Duration) -> Result<()> {
        let mut last = None;
        let connected = async {
            loop {
                let client = self.connections.any();
                let mut failures = client.error_rx();
                tokio::select! {
                    biased;
                    connected = client.wait_for_connect() => match connected {
                        Ok(()) => return Ok(()),
                        Err(error) => last = Some(translated(&error)),
                    },
                    Ok((failure, _)) = failures.recv() => last = Some(translated(&failure)),
                    // The client may have connected meanwhile, or may have been replaced.
                    () = sleep(READY_LOOK) => {}
                }
                if let Some(lasting) = last.take_if(|error| !error.is_temporary()) {
                    return Err(lasting);
                }
            }
        };
        let result = timeout(limit, connected).await;
        result.unwrap_or_else(|_| {
            let silent = || Error::new(ErrorKind::Timeout, "connecting to Redis took too long").temporary();
            Err(last.unwrap_or_else(silent))
        })
    }

    /// Checks that the server is of the kind that the URL says (a single server, not a cluster node or a sentinel) and can
    /// be read.
    ///
    /// # Errors
    ///
    /// What is wrong and how to fix it, in one sentence.
    pub async fn check_reads(&self) -> Result<()> {
        self.get_many(&self.trial_keys()).await.map(drop)
    }

    /// Also checks that the server can be written: it isn't a replica or full, and the user has permission. Two keys are
    /// written and removed again.
    ///
    /// # Errors
    ///
    /// What is wrong and how to fix it, in one sentence.
    pub async fn check(&self) -> Result<()> {
        let keys = self.trial_keys();
        self.get_many(&keys).await?;
        let entries = keys.clone().map(|key| (key, Value::from_bytes(Vec::new())));
        self.put_many(&entries).await?;
        self.remove(&keys).await
    }

    /// Two keys of different slots, which a cluster refuses in one command.
    fn trial_keys(&self) -> [Key; 2] {
        let namespace = Namespace::named("trial");
        ["a", "b"].map(|text| Key::new(&namespace, Role::Query, Truncation::Error, text))
    }

    /// Pings the server, or one server of the cluster.
    ///
    /// # Errors
    ///
    /// If it doesn't answer.
    pub async fn ping(&self) -> Result<()> {
        self.connections.client().ping(None).await.map_err(|error| self.failed(&error))
    }

    /// Counts the entries under the prefix by variant. The server scans all keys of its database for this, a thousand at a
    /// time. Entries that are written or removed meanwhile may or may not be counted, and while the server resizes its
    /// hash table some are counted twice.
    ///
    /// # Errors
    ///
    /// If the scan fails before its end.
    pub async fn census(&self) -> Result<Census> {
        let mut census = Census::default();
        for master in self.connections.masters() {
            let mut pages = Pages::new(self, master, self.keys.start(None));
            while let Some(keys) = pages.next().await? {
                for key in keys {
                    match self.keys.variant(&key) {
                        Some(variant) => *census.variants.entry(variant.to_owned()).or_default() += 1,
                        None => census.unknown += 1,
                    }
                }
            }
        }
        Ok(census)
    }

    /// One command for all keys, for a single server.
    async fn get_from_one(&self, keys: Vec<Bytes>) -> Result<Vec<Answer>> {
        self.connections.client().mget(keys).await.map_err(|error| self.failed(&error))
    }

    /// One command for each key, pipelined to each node.
    async fn get_from_cluster(&self, keys: Vec<Bytes>) -> Result<Vec<Answer>> {
        let client = self.connections.client();
        let answers = all(keys, |key| client.get::<Answer, _>(key)).await;
        let one = |answer| match answer {
            // The first as MGET does; the second is for a key that moves to another node.
            Err(error) if is_wrong_type(&error) || is_redirection(&error) => Ok(Answer::Null),
            answer => answer.map_err(|error| self.failed(&error)),
        };
        answers.into_iter().map(one).collect()
    }

    async fn unlink(&self, keys: Vec<Bytes>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        if !self.connections.is_cluster() {
            let removed = self.connections.client().unlink::<Answer, _>(keys).await;
            return removed.map(drop).map_err(|error| self.failed(&error));
        }
        let client = self.connections.client();
        self.all_well(all(keys, |key| client.unlink(key)).await)
    }

    /// The first failure among some commands, if any.
    fn all_well(&self, answers: Vec<Result<Answer, ClientError>>) -> Result<()> {
        let sent = answers.len();
        let mut failures = answers.into_iter().filter_map(Result::err);
        let Some(first) = failures.next() else {
            return Ok(());
        };
        let failed = format!("{} of {sent}", 1 + failures.count());
        Err(self.failed(&first).with_context("failed", failed))
    }

    /// The error for a failure. A write to a replica also reconnects, to find the current master.
    fn failed(&self, error: &ClientError) -> Error {
        if is_readonly(error) && !self.renewing.swap(true, Ordering::Relaxed) {
            let (renewed, renewing) = (self.connections.renew(), Arc::clone(&self.renewing));
            tokio::spawn(async move {
                renewed.await;
                sleep(RENEW_PAUSE).await;
                renewing.store(false, Ordering::Relaxed);
            });
        }
        let failure = translated(error);
        // The reason of a missing connection says more than that it is missing.
        let is_about_connection =
            failure.kind() == ErrorKind::Unavailable && failure.context().all(|(name, _)| name != "code");
        let trouble = if is_about_connection { self.connections.trouble() } else { None };
        trouble.unwrap_or(failure)
    }

    /// The answer to a command; `None` if the user may not send it.
    async fn if_allowed<T: FromValue>(
        &self,
        master: Option<Server>,
        name: &'static str,
        section: Option<&'static str>,
    ) -> Result<Option<T>> {
        let arguments: Vec<Answer> = section.into_iter().map(Answer::from).collect();
        let answer = self.connections.client_of(master).custom(command(name), arguments).await;
        match answer.map_err(|error| self.failed(&error)) {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.kind() == ErrorKind::Unauthorized => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Tier for RedisTier {
    fn name(&self) -> &str {
        &self.name
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Value>>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<Bytes> = keys.iter().map(|key| self.keys.of(key)).collect();
        let answers = if self.connections.is_cluster() {
            self.get_from_cluster(names).await?
        } else {
            self.get_from_one(names).await?
        };
        if answers.len() != keys.len() {
            let what = "Redis didn't return exactly one value for each key";
            return Err(Error::new(ErrorKind::Protocol, what)
                .with_context("keys", keys.len())
                .with_context("values", answers.len()));
        }
        // An answer that isn't bytes isn't a value.
        Ok(answers.iter().map(|answer| answer.as_bytes().map(Value::from_bytes)).collect())
    }

    async fn put_many(&self, entries: &[(Key, Value)]) -> Result<()> {
        let client = self.connections.client();
        let put = |(key, value): &(Key, Value)| {
            let lifetime = Some(Expiration::PX(self.keys.lifetime(key)));
            client.set(self.keys.of(key), Bytes::copy_from_slice(value.as_bytes()), lifetime, None, false)
        };
        self.all_well(all(entries, put).await)
    }

    async fn remove(&self, keys: &[Key]) -> Result<()> {
        self.unlink(keys.iter().map(|key| self.keys.of(key)).collect()).await
    }

    /// The server scans all keys of its database for this, a thousand at a time.
    async fn clear(&self, namespace: Option<&Namespace>) -> Result<()> {
        for master in self.connections.masters() {
            let mut pages = Pages::new(self, master, self.keys.start(namespace));
            while let Some(keys) = pages.next().await? {
                self.unlink(keys).await?;
            }
        }
        Ok(())
    }

    /// The server's statistics: the entries of the whole database, and the bytes, evictions and expirations of all its
    /// databases, whatever software uses them. [`RedisTier::census`] counts only this tier's. Figures that the user has
    /// no permission for (`DBSIZE`, `INFO`) are left out.
    async fn stats(&self) -> Result<TierStats> {
        let mut stats = TierStats::new();
        for master in self.connections.masters() {
            let entries = self.if_allowed::<u64>(master.clone(), "DBSIZE", None);
            // Older servers accept only one section at a time.
            let memory = self.if_allowed::<String>(master.clone(), "INFO", Some("memory"));
            let counts = self.if_allowed::<String>(master, "INFO", Some("stats"));
            let (entries, memory, counts) = Box::pin(try_join3(entries, memory, counts)).await?;
            let number = |name: &str| {
                let mut lines = memory.iter().chain(&counts).flat_map(|info| info.lines());
                let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
                line.trim().parse::<u64>().ok()
            };
            stats.entries = sum(stats.entries, entries);
            stats.bytes = sum(stats.bytes, number("used_memory"));
            // 0 means no limit.
            stats.limit = sum(stats.limit, number("maxmemory").filter(|limit| *limit > 0));
            stats.evicted += number("evicted_keys").unwrap_or(0);
            stats.expired += number("expired_keys").unwrap_or(0);
        }
        Ok(stats)
    }
}

impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier").field("url", &self.url).finish_non_exhaustive()
    }
}

fn sum(so_far: Option<u64>, more: Option<u64>) -> Option<u64> {
    match (so_far, more) {
        (Some(so_far), Some(more)) => Some(so_far + more),
        (so_far, more) => so_far.or(more),
    }
}

/// Sends a command for each item and waits for all answers.
async fn all<T, F>(
    items: impl IntoIterator<Item = T>,
    command: impl Fn(T) -> F,
) -> Vec<Result<Answer, ClientError>>
where
    F: Future<Output = Result<Answer, ClientError>>,
{
    let mut items = items.into_iter();
    let mut answers = Vec::with_capacity(items.size_hint().0);
    loop {
        // The client pipelines commands that are sent together.
        let together = join_all(items.by_ref().take(AT_ONCE).map(&command)).await;
        if together.is_empty() {
            return answers;
        }
        answers.extend(together);
    }
}

fn command(name: &'static str) -> CustomCommand {
    CustomCommand::new_static(name, ClusterHash::FirstKey, false)
}

/// All keys of one server with a prefix, page by page.
struct Pages<'t> {
    tier: &'t RedisTier,
    master: Option<Server>,
    start: Bytes,
    /// The cursor of the next page; `None` at the end.
    cursor: Option<Bytes>,
}

impl<'t> Pages<'t> {
    fn new(tier: &'t RedisTier, master: Option<Server>, start: Bytes) -> Self {
        Self { tier, master, start, cursor: Some(Bytes::from_static(b"0")) }
    }

    async fn next(&mut self) -> Result<Option<Vec<Bytes>>> {
        let Some(cursor) = self.cursor.take() else {
            return Ok(None);
        };
        let client = self.tier.connections.client_of(self.master.clone());
        let arguments: Vec<Answer> =
            vec![cursor.into(), "MATCH".into(), pattern(&self.start).into(), "COUNT".into(), PAGE.into()];
        let answer: Answer =
            client.custom(command("SCAN"), arguments).await.map_err(|error| self.tier.failed(&error))?;
        let page = match answer {
            Answer::Array(parts) => <[Answer; 2]>::try_from(parts).ok(),
            _ => None,
        };
        let read = page.and_then(|[cursor, keys]| {
            let cursor = cursor.into_bytes()?;
            let keys: Option<Vec<Bytes>> = keys.into_array().into_iter().map(Answer::into_bytes).collect();
            Some((cursor, keys?))
        });
        let Some((cursor, keys)) = read else {
            return Err(Error::new(ErrorKind::Protocol, "Redis's answer to SCAN isn't a page of keys"));
        };
        self.cursor = Some(cursor).filter(|cursor| cursor != "0");
        Ok(Some(keys))
    }
}
