//! The prefix of metric names and the closed sets of their labels.

use embed_core::{Error, ErrorKind, Result};

/// The prefix of the names, and the values that labels may have. Any other value is counted as `other`, so nothing
/// that a caller sends can create a series.
///
/// ```
/// use embed_metrics::MetricsConfig;
///
/// let config = MetricsConfig::default()
///     .with_model("ollama", "all-minilm")
///     .with_model("e5", "multilingual-e5-small")
///     .with_routes(["ollama", "e5"]);
/// assert_eq!(config.prefix, "tmws");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricsConfig {
    /// The prefix of every name, without its underscore: `tmws`, unless set. The dashboard and alerts of this
    /// workspace expect that.
    pub prefix: String,
    /// The models that may answer, each as its service and its name.
    pub models: Vec<(String, String)>,
    /// The router's routes.
    pub routes: Vec<String>,
    /// The rules of the router's detector.
    pub rules: Vec<String>,
    /// The cache's tiers: `memory` and `redis`, unless set.
    pub tiers: Vec<String>,
    /// What circuit breakers protect: servers of a kind, a route, a tier.
    pub parts: Vec<String>,
    /// The commit of the build: `unknown`, unless set.
    pub revision: String,
    /// The instructions that models in the process compute by: `none`, unless set.
    pub kernels: String,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            prefix: "tmws".to_owned(),
            models: Vec::new(),
            routes: Vec::new(),
            rules: Vec::new(),
            tiers: owned(["memory", "redis"]),
            parts: Vec::new(),
            revision: "unknown".to_owned(),
            kernels: "none".to_owned(),
        }
    }
}

impl MetricsConfig {
    /// Sets the prefix.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Adds a model that may answer.
    #[must_use]
    pub fn with_model(mut self, service: impl Into<String>, model: impl Into<String>) -> Self {
        self.models.push((service.into(), model.into()));
        self
    }

    /// Sets the router's routes.
    #[must_use]
    pub fn with_routes<S: Into<String>>(mut self, routes: impl IntoIterator<Item = S>) -> Self {
        self.routes = owned(routes);
        self
    }

    /// Sets the rules of the router's detector.
    #[must_use]
    pub fn with_rules<S: Into<String>>(mut self, rules: impl IntoIterator<Item = S>) -> Self {
        self.rules = owned(rules);
        self
    }

    /// Sets the cache's tiers.
    #[must_use]
    pub fn with_tiers<S: Into<String>>(mut self, tiers: impl IntoIterator<Item = S>) -> Self {
        self.tiers = owned(tiers);
        self
    }

    /// Sets what circuit breakers protect.
    #[must_use]
    pub fn with_parts<S: Into<String>>(mut self, parts: impl IntoIterator<Item = S>) -> Self {
        self.parts = owned(parts);
        self
    }

    /// Sets the commit of the build.
    #[must_use]
    pub fn with_revision(mut self, revision: impl Into<String>) -> Self {
        self.revision = revision.into();
        self
    }

    /// Sets the instructions that models in the process compute by.
    #[must_use]
    pub fn with_kernels(mut self, kernels: impl Into<String>) -> Self {
        self.kernels = kernels.into();
        self
    }

    /// The exporter would silently change an invalid name.
    pub(crate) fn check(&self) -> Result<()> {
        let mut letters = self.prefix.chars();
        let good = letters.next().is_some_and(|first| first.is_ascii_lowercase())
            && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
            && !self.prefix.ends_with('_');
        if !good {
            return Err(Error::new(
                ErrorKind::Config,
                "`prefix` of the metrics may have the letters a to z, digits and underscores, must begin with a letter \
                 and must not end with an underscore",
            )
            .with_context("prefix", &self.prefix));
        }
        let models = self.models.iter().flat_map(|(service, model)| [service, model]);
        let sets = [("models", models.collect())]
            .into_iter()
            .chain(
                [
                    ("routes", &self.routes),
                    ("rules", &self.rules),
                    ("tiers", &self.tiers),
                    ("parts", &self.parts),
                ]
                .map(|(field, values)| (field, values.iter().collect::<Vec<_>>())),
            )
            .chain([("revision", vec![&self.revision])]);
        for (field, values) in sets {
            if values.into_iter().any(String::is_empty) {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "`{field}` of the metrics has an empty name, which can't be the value of a label"
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn owned<S: Into<String>>(values: impl IntoIterator<Item = S>) -> Vec<String> {
    values.into_iter().map(Into::into).collect()
}
