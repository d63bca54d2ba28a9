//! A request for vectors, independent of its dialect.

use std::sync::Arc;

use embed_core::{Role, Truncation};
use tokio::sync::OwnedSemaphorePermit;

use crate::catalogue::Model;

/// A request for vectors, independent of its dialect.
#[derive(Debug)]
pub(crate) struct GatewayRequest {
    pub(crate) model: Arc<Model>,
    pub(crate) texts: Vec<Arc<str>>,
    pub(crate) role: Role,
    pub(crate) truncation: Truncation,
    /// The dimension to cut vectors to.
    pub(crate) dimension: Option<usize>,
    /// Whether failed texts are rows of the answer instead of failing it.
    pub(crate) partial: bool,
    /// Whether the dialect can name each row's space.
    pub(crate) rows_say_space: bool,
    /// The body's share of the memory for bodies.
    pub(crate) share: Option<OwnedSemaphorePermit>,
}

impl GatewayRequest {
    /// A request with the defaults: the model's role, nothing cut, all or nothing.
    pub(crate) fn new(model: Arc<Model>, texts: Vec<Arc<str>>) -> Self {
        Self {
            role: model.entry.role,
            model,
            texts,
            truncation: Truncation::Error,
            dimension: None,
            partial: false,
            rows_say_space: false,
            share: None,
        }
    }
}
