#![doc = include_str!("../README.md")]

pub mod graph;
pub mod tokenizer_json;
pub mod weights;

mod asset;
mod bundle;
mod calibrate;
mod custom;
mod files;
mod folder;
mod forward;
mod hub;
mod lock;
mod progress;
mod pull;
mod repack;
mod repacker;
mod spec;
mod store;
mod trial;
mod wheel;

pub use asset::{Asset, AssetState, Listed, Verified, list, verify};
pub use bundle::{ImportOptions, export, import, import_with};
pub use calibrate::calibrate;
pub use custom::pull_custom;
pub use forward::Forward;
pub use hub::{HubOptions, HubToken, Patience, Proxy};
pub use progress::{Progress, Silent};
pub use pull::{PullOptions, Pulled, SourceChoice, pull_model, pull_runtime, roll_back};
pub use repack::{Raw, Repack};
pub use repacker::Repacker;
pub use trial::try_model;
pub use wheel::WheelOptions;
