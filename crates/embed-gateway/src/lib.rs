#![doc = include_str!("../README.md")]

mod access;
mod admission;
mod answer;
mod auth;
mod body;
mod caller;
mod config;
mod connection;
mod context;
mod dialect;
mod embed;
mod encoding;
mod error;
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
mod limits;
mod models;
mod own;
mod page;
mod queue;
mod redirect;
mod render;
mod request;
mod serve;
mod serving;
mod slots;
mod state;
mod surrogates;
#[cfg(feature = "tls")]
mod tls;
mod watch;

pub use auth::ApiKey;
pub use config::GatewayConfig;
pub use extend::{
    CacheStatus, Coverage, Explainer, Explanation, ObservedRequest, Observer, Plan, Planner, RouteStatus,
    StackStatus, Token, Tokenizer,
};
pub use gateway::Gateway;
pub use limits::{AdmissionConfig, Limits};
pub use models::{ModelDetails, ModelEntry, ModelSource};
pub use serve::{Drained, Server};
pub use surrogates::replace_unpaired_surrogates;
#[cfg(feature = "tls")]
pub use tls::TlsConfig;
pub use watch::{GatewayStats, GatewayWatch};
