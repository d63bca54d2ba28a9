//! What a request for vectors comes down to, whatever its dialect.

use std::sync::Arc;

use embed_core::{Role, Truncation};
use tokio::sync::OwnedSemaphorePermit;

use crate::catalogue::Model;

/// What a dialect's request comes down to.
#[derive(Debug)]
pub(crate) struct GatewayRequest {
    pub(crate) model: Arc<Model>,
    pub(crate) texts: Vec<Arc<str>>,
    pub(crate) role: Role,
    pub(crate) truncation: Truncation,
    /// Numbers that a vector is cut to.
    pub(crate) dimension: Option<usize>,
    /// Failed texts are rows of the answer, and not its end.
    pub(crate) partial: bool,
    /// The dialect can say of each row which space it is of.
    pub(crate) rows_say_space: bool,
    /// The body's share of what all bodies may hold.
    pub(crate) share: Option<OwnedSemaphorePermit>,
}

impl GatewayRequest {
    /// A request as most are: for documents, nothing cut, all or nothing.
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
