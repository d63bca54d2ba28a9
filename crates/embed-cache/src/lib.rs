#![doc = include_str!("../README.md")]

mod key;
mod tier;
mod value;

pub use key::{Key, Namespace};
pub use tier::{Tier, TierStats};
pub use value::{Defect, Element, Value};
