//! One file for each command.

mod args;
pub(crate) mod bench;
#[cfg_attr(not(feature = "redis"), path = "no_cache.rs")]
pub(crate) mod cache;
pub(crate) mod certify;
pub(crate) mod compare;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod encode;
pub(crate) mod generate;
pub(crate) mod migrate;
pub(crate) mod models;
pub(crate) mod ollama;
pub(crate) mod rollout;
pub(crate) mod route;
pub(crate) mod serve;
