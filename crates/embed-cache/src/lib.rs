#![doc = include_str!("../README.md")]

mod key;
#[cfg(feature = "redis")]
mod redis;
mod tier;
mod value;

pub use key::{Key, Namespace};
#[cfg(feature = "redis")]
pub use redis::{Census, RedisConfig, RedisTier, RedisUrl};
pub use tier::{Tier, TierStats};
pub use value::{Defect, Element, Value};
