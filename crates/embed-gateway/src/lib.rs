#![doc = include_str!("../README.md")]

mod access;
mod admission;
mod auth;
mod body;
mod call;
mod config;
mod connection;
mod dialect;
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
mod render;
mod serve;
mod slots;
mod state;
#[cfg(feature = "tls")]
mod tls;

pub use auth::ApiKey;
pub use config::{AdmissionConfig, GatewayConfig, Limits};
pub use extend::{
    CacheStatus, Coverage, Explainer, Explanation, ObservedRequest, Observer, Plan, Planner, RouteStatus,
    StackStatus,
};
pub use gateway::{Gateway, GatewayStats, GatewayWatch};
pub use models::{ModelDetails, ModelEntry};
pub use serve::{Drained, Server};
#[cfg(feature = "tls")]
pub use tls::TlsConfig;
