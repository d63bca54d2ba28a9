#![doc = include_str!("../README.md")]

mod admin;
mod admission;
mod answer;
mod api;
mod auth;
mod body;
mod caller;
mod catalogue;
mod config;
mod connections;
mod context;
mod embed;
mod error;
mod failure;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod gateway;
mod hooks;
mod host;
mod json;
mod limits;
mod middleware;
mod models;
mod page;
mod render;
mod request;
mod server;
mod state;
mod surrogates;
#[cfg(feature = "tls")]
mod tls;
mod watch;

pub use auth::ApiKey;
pub use config::GatewayConfig;
pub use gateway::Gateway;
pub use hooks::{
    CacheStatus, Explainer, Explanation, ObservedRequest, Observer, Plan, Planner, RouteStatus, StackStatus,
    Token, Tokenizer,
};
pub use limits::{AdmissionConfig, Limits};
pub use models::{ModelDetails, ModelEntry, ModelSource};
pub use server::{Drained, Server};
pub use surrogates::replace_unpaired_surrogates;
#[cfg(feature = "tls")]
pub use tls::TlsConfig;
pub use watch::{GatewayStats, GatewayWatch};
