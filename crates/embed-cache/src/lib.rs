#![doc = include_str!("../README.md")]

mod key;
#[cfg(feature = "memory")]
mod memory;
mod tier;
mod value;

pub use key::{Key, Namespace};
#[cfg(feature = "memory")]
pub use memory::{MemoryConfig, MemoryTier};
pub use tier::{Tier, TierStats};
pub use value::{Defect, Element, Value};
