//! Collections that stay on one route.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Which partition is pinned to which route: a collection stays in the space of its vectors, whatever language a
/// text is in.
///
/// Clones share one book, so whoever keeps one may pin while the router runs. The texts of a pinned partition
/// aren't looked at. They fail over inside the space alone, never to another one.
#[derive(Debug, Clone, Default)]
pub struct PinBook {
    pins: Arc<RwLock<HashMap<Arc<str>, Arc<str>>>>,
}

impl PinBook {
    /// Pins a partition to a route, from the next request on.
    pub fn pin(&self, partition: impl Into<Arc<str>>, route: impl Into<Arc<str>>) {
        let mut pins = self.pins.write().unwrap_or_else(PoisonError::into_inner);
        pins.insert(partition.into(), route.into());
    }

    /// Takes a pin out; the route that it was pinned to.
    pub fn unpin(&self, partition: &str) -> Option<Arc<str>> {
        self.pins.write().unwrap_or_else(PoisonError::into_inner).remove(partition)
    }

    /// The route of a partition.
    #[must_use]
    pub fn route_of(&self, partition: &str) -> Option<Arc<str>> {
        self.pins.read().unwrap_or_else(PoisonError::into_inner).get(partition).cloned()
    }

    /// The routes that partitions are pinned to, each once for each pin.
    pub(crate) fn routes(&self) -> Vec<Arc<str>> {
        self.pins.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl<P: Into<Arc<str>>, R: Into<Arc<str>>> FromIterator<(P, R)> for PinBook {
    fn from_iter<T: IntoIterator<Item = (P, R)>>(pins: T) -> Self {
        let pins = pins.into_iter().map(|(partition, route)| (partition.into(), route.into())).collect();
        Self { pins: Arc::new(RwLock::new(pins)) }
    }
}
