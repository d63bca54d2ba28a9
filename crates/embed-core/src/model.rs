//! What is known of a model without asking it.

use std::sync::Arc;

use crate::{Space, Variant};

/// A model as a service offers it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    inner: Arc<Parts>,
}

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    service: String,
    name: String,
    variant: Variant,
    max_tokens: Option<usize>,
}

/// Puts together a [`ModelInfo`].
#[derive(Debug)]
pub struct ModelInfoBuilder(Parts);

impl ModelInfo {
    /// A model that `service` (`e5`, `ollama`, …) calls `name`, whose vectors are of `variant`.
    pub fn builder(
        service: impl Into<String>,
        name: impl Into<String>,
        variant: Variant,
    ) -> ModelInfoBuilder {
        ModelInfoBuilder(Parts { service: service.into(), name: name.into(), variant, max_tokens: None })
    }

    /// The kind of service that runs it: `e5`, `ollama`.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.inner.service
    }

    /// The model's name at its service.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The space of its vectors.
    #[must_use]
    pub fn space(&self) -> &Space {
        self.inner.variant.space()
    }

    /// The exact numbers it gives.
    #[must_use]
    pub fn variant(&self) -> &Variant {
        &self.inner.variant
    }

    /// Numbers in a vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.space().dimension()
    }

    /// The same model with vectors cut to their first `dimension` numbers: another
    /// [space](Space::with_dimension) and variant; the same ones if its vectors have no more.
    #[must_use]
    pub fn with_dimension(&self, dimension: usize) -> Self {
        Self {
            inner: Arc::new(Parts {
                service: self.service().to_owned(),
                name: self.name().to_owned(),
                variant: self.variant().with_dimension(dimension),
                max_tokens: self.max_tokens(),
            }),
        }
    }

    /// Tokens that it reads at most, its own special tokens and prefix included, if that is known.
    #[must_use]
    pub fn max_tokens(&self) -> Option<usize> {
        self.inner.max_tokens
    }
}

impl ModelInfoBuilder {
    /// Sets how many tokens it reads at most.
    #[must_use]
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.0.max_tokens = Some(tokens);
        self
    }

    /// The description.
    #[must_use]
    pub fn build(self) -> ModelInfo {
        ModelInfo { inner: Arc::new(self.0) }
    }
}
