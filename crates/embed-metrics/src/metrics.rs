//! What a program holds: all metrics, to record them and to show them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use embed_core::{Error, ErrorKind, ModelInfo, Result};

use crate::registry::Registry;
use crate::{GatewayMetrics, MetricsConfig, names};

/// All metrics of a program. Cheap to clone; clones are the same metrics.
///
/// It is a value and nothing global: two of them in one process know nothing of each other, and a test has its own.
/// Whatever records gets a reference when it is made.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
}

impl Metrics {
    /// The content type of what [`render`](Self::render) gives.
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Metrics with every series of the [table](names::GROUPS) at zero, or left out where it isn't known yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if a setting is wrong; it names the field.
    pub fn new(config: MetricsConfig) -> Result<Self> {
        let registry = Arc::new(Registry::new(config)?);
        let mut build = registry.snapshot();
        build.level(&names::BUILD_INFO, &registry.build(), 1.0);
        build.show();
        Ok(Self { registry })
    }

    /// Everything in the text format of Prometheus (version 0.0.4, [`CONTENT_TYPE`](Self::CONTENT_TYPE)).
    ///
    /// What others count is as old as the last calls of the methods `observe_…`, so call those before.
    #[must_use]
    pub fn render(&self) -> String {
        self.registry.render()
    }

    /// Says how long it took to load a model, or to meet its server.
    pub fn model_loaded(&self, model: &ModelInfo, took: Duration) {
        let labels = [model.service(), model.name()];
        self.registry.gauge(&names::MODEL_LOAD, &labels).set(took.as_secs_f64());
    }

    /// Counts that vectors of two spaces were to be compared, and weren't. [`Metered`](crate::Metered) counts the texts
    /// that failed for their space by itself.
    pub fn space_mismatch(&self) {
        self.registry.counter(&names::SPACE_MISMATCHES, &[]).increment(1);
    }

    /// What an HTTP gateway records with.
    #[must_use]
    pub fn gateway(&self) -> GatewayMetrics {
        GatewayMetrics::new(&self.registry)
    }

    /// Makes this the recorder of the process, so that what other crates record through the facade `metrics` is
    /// rendered here too, under their names. Nothing of this workspace needs it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the process has a recorder already. These metrics work all the same.
    pub fn install(&self) -> Result<()> {
        ::metrics::set_global_recorder(Arc::clone(&self.registry.recorder)).map_err(|_| {
            Error::new(
                ErrorKind::Config,
                "this process has a recorder of metrics already: install one and share it, or leave these metrics \
                 uninstalled, which only keeps the metrics of other crates out of them",
            )
        })
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
