//! Rows out of Redis: the tier of `embed-cache`, and by hand with `redis` and `fred`, in one process, in turns, over the
//! same keys and the same server.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use embed_cache::{Key, Namespace, RedisConfig, RedisTier, Tier, Value};
use embed_core::{Role, Truncation};
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::config::Config;
use futures::future::BoxFuture;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde::Serialize;
use tokio::runtime::Runtime;

/// Rows of a request.
const ROWS: usize = 32;
/// Bytes of a vector of 384 numbers and the header before it.
const BYTES: usize = 24 + 384 * 4;

/// A line of the output.
#[derive(Serialize)]
struct Measured {
    name: &'static str,
    /// One number a round.
    rows_per_second: Vec<f64>,
}

/// Reads all rows once, and says how many bytes they have.
type Read = Box<dyn Fn() -> BoxFuture<'static, Result<usize>>>;

pub(crate) fn run(url: &str, rounds: usize, calls: usize) -> Result<()> {
    let runtime = Runtime::new()?;
    let readers = runtime.block_on(readers(url))?;
    let mut measured: Vec<Measured> = Vec::new();
    for (name, read) in &readers {
        // What is measured are hits, and of everybody the same ones.
        let bytes = runtime.block_on(read())?;
        ensure!(bytes == ROWS * BYTES, "{name} read {bytes} bytes");
        measured.push(Measured { name, rows_per_second: Vec::new() });
    }
    for _ in 0..rounds {
        for ((_, read), measured) in readers.iter().zip(&mut measured) {
            let began = Instant::now();
            for _ in 0..calls {
                runtime.block_on(read())?;
            }
            measured.rows_per_second.push((calls * ROWS) as f64 / began.elapsed().as_secs_f64());
        }
    }
    for measured in &measured {
        println!("{}", serde_json::to_string(measured)?);
    }
    Ok(())
}

async fn readers(url: &str) -> Result<Vec<(&'static str, Read)>> {
    let tier = RedisTier::connect(RedisConfig::new(url.parse()?))?;
    tier.ready(Duration::from_secs(5)).await?;
    let tier = std::sync::Arc::new(tier);
    let namespace = Namespace::named("model");
    let key = |i: usize| Key::new(&namespace, Role::Document, Truncation::End, &format!("text {i}"));
    let keys: Vec<Key> = (0..ROWS).map(key).collect();
    let entries: Vec<(Key, Value)> =
        keys.iter().map(|key| (key.clone(), Value::from_bytes(vec![1_u8; BYTES]))).collect();
    tier.put_many(&entries).await?;

    let connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let names: Vec<Vec<u8>> = connection.clone().keys("*").await?;
    let client = Client::new(Config::from_url(url)?, None, None, None);
    client.init().await?;
    let fred_keys: Vec<fred::types::Key> = names.iter().map(|name| name.as_slice().into()).collect();
    Ok(vec![
        ("embed-cache get_many", Box::new(move || Box::pin(of_tier(tier.clone(), keys.clone())))),
        reader("redis, one MGET", &connection, &names, one_mget),
        reader("redis, a pipeline of GETs", &connection, &names, pipeline),
        reader("redis, GETs one after the other", &connection, &names, one_by_one),
        (
            "fred, one MGET",
            Box::new(move || {
                let (client, keys) = (client.clone(), fred_keys.clone());
                Box::pin(async move {
                    let rows: Vec<fred::types::Value> = client.mget(keys).await?;
                    rows.iter().map(|row| Ok(row.as_bytes().context("a miss")?.len())).sum()
                })
            }),
        ),
    ])
}

/// A way to read with the crate `redis`.
fn reader<F>(
    name: &'static str,
    connection: &MultiplexedConnection,
    names: &[Vec<u8>],
    read: fn(MultiplexedConnection, Vec<Vec<u8>>) -> F,
) -> (&'static str, Read)
where
    F: Future<Output = Result<usize>> + Send + 'static,
{
    let (connection, names) = (connection.clone(), names.to_vec());
    (name, Box::new(move || Box::pin(read(connection.clone(), names.clone()))))
}

async fn of_tier(tier: std::sync::Arc<RedisTier>, keys: Vec<Key>) -> Result<usize> {
    let rows = tier.get_many(&keys).await?;
    rows.iter().map(|row| Ok(row.as_ref().context("a miss")?.as_bytes().len())).sum()
}

async fn one_mget(mut connection: MultiplexedConnection, names: Vec<Vec<u8>>) -> Result<usize> {
    let rows: Vec<Vec<u8>> = connection.mget(names).await?;
    Ok(rows.iter().map(Vec::len).sum())
}

async fn pipeline(mut connection: MultiplexedConnection, names: Vec<Vec<u8>>) -> Result<usize> {
    let mut pipe = redis::pipe();
    names.iter().for_each(|name| {
        pipe.get(name);
    });
    let rows: Vec<Vec<u8>> = pipe.query_async(&mut connection).await?;
    Ok(rows.iter().map(Vec::len).sum())
}

async fn one_by_one(mut connection: MultiplexedConnection, names: Vec<Vec<u8>>) -> Result<usize> {
    let mut bytes = 0;
    for name in names {
        let row: Vec<u8> = connection.get(name).await?;
        bytes += row.len();
    }
    Ok(bytes)
}
