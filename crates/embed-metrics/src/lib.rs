#![doc = include_str!("../README.md")]

pub mod names;

mod config;
mod figures;
mod gateway;
mod metered;
mod metrics;
mod registry;

pub use config::MetricsConfig;
pub use figures::{
    BreakerFigures, BreakerState, ByReason, CacheFigures, E5Figures, GatewayFigures, OllamaFigures,
    RolloutFigures, RouteFigures, RouterFigures, SideFigures, TierFigures,
};
pub use gateway::{GatewayMetrics, QueuePlace, RequestTimer};
pub use metered::{BackendMeter, CallerMeter, Metered};
pub use metrics::Metrics;
