#![doc = include_str!("../README.md")]

mod detect;

pub use detect::{Detection, Detector, Kind};
