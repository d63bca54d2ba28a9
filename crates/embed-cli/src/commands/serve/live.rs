//! The stack that is served now, and its exchange for another one.

use std::sync::{Arc, PoisonError, RwLock};

use embed_core::{Embedder, Error, Stack};
use embed_encoder::assets::DataHome;
use embed_gateway::GatewayWatch;
use embed_metrics::CallerMeter;

use super::stack::ServedStack;
use crate::settings::Settings;

/// The stack that is served now. Requests that are in flight at an exchange keep the one that they began with.
#[derive(Debug, Clone)]
pub(super) struct Live(Arc<RwLock<Arc<ServedStack>>>);

impl Live {
    pub(super) fn new(stack: ServedStack) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(stack))))
    }

    /// The stack.
    pub(super) fn stack(&self) -> Arc<ServedStack> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the gateway embeds with.
    pub(super) fn embedder(&self) -> Arc<dyn Embedder> {
        let stack = self.stack();
        let callers = CallerMeter(stack.metrics.clone());
        Arc::new(Stack::of_router(Arc::clone(&stack.router)).layer(callers).build())
    }

    /// Builds the stack of other settings, with what stays the same of this one.
    pub(super) async fn rebuilt(
        &self,
        settings: &Settings,
        home: &DataHome,
    ) -> Result<Option<ServedStack>, Error> {
        let now = self.stack();
        if now.is_of(settings, home)? {
            return Ok(None);
        }
        ServedStack::build(settings, home, Some(&now)).await.map(Some)
    }

    /// Serves another stack from now on.
    pub(super) async fn exchange(&self, new: ServedStack, gateway: &GatewayWatch) -> Result<(), Error> {
        let models = new.entries();
        let before =
            std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), Arc::new(new));
        if let Err(error) = gateway.exchange(self.embedder(), &models).await {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = before;
            return Err(error);
        }
        Ok(())
    }
}
