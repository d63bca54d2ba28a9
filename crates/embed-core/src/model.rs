//! The description of a model.

use std::sync::Arc;

use crate::{Space, Variant};

/// A model as a service offers it. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    inner: Arc<Inner>,
}

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    service: String,
    name: String,
    variant: Variant,
    max_tokens: Option<usize>,
}

/// Builds a [`ModelInfo`].
#[derive(Debug)]
pub struct ModelInfoBuilder(Inner);

impl ModelInfo {
    /// Describes the model called `name` at `service` (`e5`, `ollama`, …), whose vectors are of `variant`.
    pub fn builder(
        service: impl Into<String>,
        name: impl Into<String>,
        variant: Variant,
    ) -> ModelInfoBuilder {
        ModelInfoBuilder(Inner { service: service.into(), name: name.into(), variant, max_tokens: None })
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

    /// The variant of its vectors: which exact numbers it gives.
    #[must_use]
    pub fn variant(&self) -> &Variant {
        &self.inner.variant
    }

    /// The dimension of its vectors.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.space().dimension()
    }

    /// The same model with vectors cut to their first `dimension` numbers, in another [space](Space::with_dimension)
    /// and variant. Both stay the same if the vectors aren't longer than that.
    #[must_use]
    pub fn with_dimension(&self, dimension: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                service: self.service().to_owned(),
                name: self.name().to_owned(),
                variant: self.variant().with_dimension(dimension),
                max_tokens: self.max_tokens(),
            }),
        }
    }

    /// The most tokens of a text that it accepts, special tokens and prefix included, if known.
    #[must_use]
    pub fn max_tokens(&self) -> Option<usize> {
        self.inner.max_tokens
    }
}

impl ModelInfoBuilder {
    /// Sets the most tokens that it accepts.
    #[must_use]
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.0.max_tokens = Some(tokens);
        self
    }

    /// Builds the description.
    #[must_use]
    pub fn build(self) -> ModelInfo {
        ModelInfo { inner: Arc::new(self.0) }
    }
}
