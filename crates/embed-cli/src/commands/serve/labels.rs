//! The labels that the metrics of a document have.

use embed_metrics::MetricsConfig;
use embed_router::LanguageDetector;

use crate::settings::{Document, ModelSpec};

/// Tiers of the cache, which have breakers as routes do.
const TIERS: [&str; 2] = ["memory", "redis"];

/// The labels of a document's models, routes and tiers.
pub(super) fn of(document: &Document) -> MetricsConfig {
    let routes: Vec<&str> = document.models.iter().map(|model| &*model.name).collect();
    let mut config = MetricsConfig::default()
        .with_routes(routes.iter().copied())
        // With one model, no language decides.
        .with_rules(LanguageDetector::rules().filter(|_| routes.len() > 1))
        .with_tiers(TIERS)
        .with_parts(routes.iter().copied().chain(TIERS));
    for (service, model) in document.models.iter().map(ModelSpec::label) {
        config = config.with_model(service, model);
    }
    // Set where releases are built. A build script that asks git would rebuild the program at each commit.
    if let Some(revision) = option_env!("EMBED_REVISION").filter(|revision| !revision.is_empty()) {
        config = config.with_revision(revision);
    }
    // What is set wrong is said where a model is loaded.
    if let Ok(kernels) = embed_encoder::kernels() {
        config = config.with_kernels(kernels);
    }
    config
}
