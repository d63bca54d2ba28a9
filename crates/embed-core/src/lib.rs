#![doc = include_str!("../README.md")]

pub mod vector;

mod breaker;
mod coverage;
mod deadline;
mod embedder;
mod embedding;
mod error;
mod ext;
mod health;
mod layer;
mod model;
mod nearest;
mod options;
mod request;
mod response;
mod shared_breaker;
mod space;
mod trace;

pub use async_trait::async_trait;

pub use breaker::{Breaker, BreakerConfig, Pass};
pub use coverage::Coverage;
pub use deadline::Deadline;
pub use embedder::Embedder;
pub use embedding::{Embedding, EmbeddingRef, RowInfo, TokenCount};
pub use error::{Error, ErrorKind, Result, Retry};
pub use ext::EmbedderExt;
pub use health::{Health, HealthStatus};
pub use layer::{Layer, SingleSpace, Stack, place};
pub use model::{ModelInfo, ModelInfoBuilder};
pub use nearest::{Candidate, top_k};
pub use options::{EmbedOptions, Role, Truncation};
pub use request::{EmbedRequest, IntoText};
pub use response::{EmbedResponse, IntoRows, ResponseBuilder, Rows};
pub use shared_breaker::{BreakerGuard, SharedBreaker};
pub use space::{Normalisation, Pooling, PrefixScheme, Space, SpaceBuilder, Variant};
pub use trace::TraceContext;
