#![doc = include_str!("../README.md")]

mod config;
mod detect;
mod fusion;
mod guard;
mod late;
mod pins;
mod policy;
#[cfg_attr(not(feature = "rollout"), path = "no_rollout.rs")]
mod rollout;
mod route;
mod router;
#[cfg(feature = "rollout")]
mod shadow;
mod stats;

#[cfg(not(feature = "rollout"))]
use rollout as shadow;

pub use config::RouterConfig;
pub use detect::{Detection, Detector, Kind, LanguageDetector};
pub use fusion::{Fused, RECIPROCAL_RANK_CONSTANT, fuse};
pub use guard::{Guard, Guarded};
pub use pins::PinBook;
pub use policy::{ENGLISH_ROUTE, MULTILINGUAL_ROUTE, Policy};
#[cfg(feature = "rollout")]
pub use rollout::{
    Agreement, CallStatus, Rollout, RolloutConfig, RolloutFile, RolloutState, RolloutStatus, ShadowConfig,
    ShadowStatus, Stop, StopLimits, rollout_place,
};
pub use route::{Reads, Route, RouteBuilder};
pub use router::{Absence, DecidedBy, Decision, Plan, PlanItem, Router};
pub use stats::{BreakerState, RouteStats, RouterStats};
