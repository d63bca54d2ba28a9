#![doc = include_str!("../README.md")]

mod config;
mod detect;
mod fusion;
mod guard;
mod late;
mod pins;
mod policy;
mod rollout;
mod route;
mod router;
mod shadow;
mod stats;

pub use config::RouterConfig;
pub use detect::{Detection, Detector, Kind, LanguageDetector};
pub use fusion::{Fused, RECIPROCAL_RANK_CONSTANT, fuse};
pub use guard::{Guard, Guarded};
pub use pins::PinBook;
pub use policy::{ENGLISH_ROUTE, MULTILINGUAL_ROUTE, Policy};
pub use rollout::{
    Agreement, CallStatus, Rollout, RolloutConfig, RolloutFile, RolloutState, RolloutStatus, ShadowConfig,
    ShadowStatus, Stop, StopLimits, rollout_place,
};
pub use route::{Reads, Route, RouteBuilder};
pub use router::{Absence, DecidedBy, Decision, Plan, PlanItem, Router};
pub use stats::{BreakerState, RouteStats, RouterStats};
