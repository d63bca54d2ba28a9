#![doc = include_str!("../README.md")]

mod cache;
mod cached;
mod config;
mod flight;
mod guard;
mod key;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "redis")]
mod redis;
mod stats;
mod tier;
mod value;
mod writer;

pub use cache::Cache;
pub use cached::Cached;
pub use config::CacheConfig;
pub use key::{Key, Namespace};
#[cfg(feature = "memory")]
pub use memory::{MemoryConfig, MemoryTier};
#[cfg(feature = "redis")]
pub use redis::{Census, RedisConfig, RedisTier, RedisUrl};
pub use stats::{CacheStats, TierReport};
pub use tier::{Tier, TierStats};
pub use value::{Defect, Element, Value};
