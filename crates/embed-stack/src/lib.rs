#![doc = include_str!("../README.md")]

pub mod settings;
pub mod stack;

pub use settings::{Problems, Settings};
pub use stack::Stack;
