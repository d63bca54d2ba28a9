#![doc = include_str!("../README.md")]

pub mod catalogue;
pub mod chart;
pub mod compare;
pub mod criterion;
pub mod facts;
pub mod figure;
pub mod font;
pub mod kept;
pub mod number;
pub mod page;
pub mod png;
pub mod processor;
pub mod readme;
pub mod report;
pub mod stats;
pub mod terminal;
