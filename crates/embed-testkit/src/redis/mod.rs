//! Real Redis servers, each for one test: single ones, a master with its replica and sentinels, a cluster. They listen
//! on free ports of 127.0.0.1, keep nothing on disk, and end when they are dropped.
//!
//! They come from Debian's package `redis-server`.

mod certificate;
mod cluster;
mod process;
mod resp;
mod sentinel;
mod server;

pub use certificate::Certificate;
pub use cluster::RedisCluster;
pub use resp::Reply;
pub use sentinel::RedisSentinels;
pub use server::{RedisOptions, RedisServer};
