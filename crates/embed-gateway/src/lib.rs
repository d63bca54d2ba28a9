#![doc = include_str!("../README.md")]

mod access;
mod admission;
mod auth;
mod body;
mod call;
mod config;
mod connection;
mod dialect;
mod encoding;
mod extend;
mod failure;
mod front;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod gateway;
mod health;
mod host;
mod json;
mod models;
mod own;
mod page;
mod queue;
mod redirect;
mod render;
mod serve;
mod slots;
mod state;
mod surrogates;
#[cfg(feature = "tls")]
mod tls;

pub use auth::ApiKey;
pub use config::{AdmissionConfig, GatewayConfig, Limits};
pub use extend::{
    CacheStatus, Coverage, Explainer, Explanation, ObservedRequest, Observer, Plan, Planner, RouteStatus,
    StackStatus, Token, Tokenizer,
};
pub use gateway::{Gateway, GatewayStats, GatewayWatch};
pub use models::{ModelDetails, ModelEntry, ModelSource};
pub use serve::{Drained, Server};
pub use surrogates::replace_unpaired_surrogates;
#[cfg(feature = "tls")]
pub use tls::TlsConfig;
