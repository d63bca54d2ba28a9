//! Pins of partitions to routes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Which partition is pinned to which route, so that a collection stays in the space of its vectors, whatever the
/// language of a text.
///
/// Clones share the pins, so a clone can add pins while the router runs. Texts of a pinned partition aren't inspected.
/// They fail over only within the space, never to another one.
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

    /// Removes a pin; returns the route of the pin.
    pub fn unpin(&self, partition: &str) -> Option<Arc<str>> {
        self.pins.write().unwrap_or_else(PoisonError::into_inner).remove(partition)
    }

    /// The route of a partition.
    #[must_use]
    pub fn route_of(&self, partition: &str) -> Option<Arc<str>> {
        self.pins.read().unwrap_or_else(PoisonError::into_inner).get(partition).cloned()
    }

    /// The route of each pin.
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
