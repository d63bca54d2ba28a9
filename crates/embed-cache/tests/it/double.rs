//! A tier whose behaviour a test sets, and helpers for requests.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use embed_cache::{Cache, CacheConfig, Cached, Key, Namespace, Tier, TierStats, Value};
use embed_core::{EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Result, Role, async_trait};
use embed_testkit::Scripted;

/// A map as a tier, with a settable behaviour. Clones are the same tier.
#[derive(Debug, Clone)]
pub(crate) struct MapTier {
    name: String,
    local: bool,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Key, Value>,
    reads: Mood,
    writes: Mood,
    lookups: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// Every call is an error of this kind.
    Fails(ErrorKind),
    /// No call ends.
    Hangs,
    /// Every call takes this long.
    Slow(Duration),
    /// A read returns one answer too few.
    Miscounts,
}

impl MapTier {
    pub(crate) fn local(name: impl Into<String>) -> Self {
        Self { name: name.into(), local: true, inner: Arc::default() }
    }

    pub(crate) fn remote(name: impl Into<String>) -> Self {
        Self { name: name.into(), local: false, inner: Arc::default() }
    }

    pub(crate) fn set(&self, reads: Mood, writes: Mood) {
        let mut inner = self.inner.lock().unwrap();
        inner.reads = reads;
        inner.writes = writes;
    }

    pub(crate) fn lookups(&self) -> u64 {
        self.inner.lock().unwrap().lookups
    }

    pub(crate) fn len(&self) -> usize {
        self.inner.lock().unwrap().entries.len()
    }

    /// Changes each stored value; `None` drops it.
    pub(crate) fn tamper(&self, mut change: impl FnMut(&Key, &Value) -> Option<Value>) {
        let mut inner = self.inner.lock().unwrap();
        let entries = std::mem::take(&mut inner.entries);
        inner.entries = entries
            .into_iter()
            .filter_map(|(key, value)| change(&key, &value).map(|value| (key, value)))
            .collect();
    }
}

async fn behave(mood: Mood) -> Result<()> {
    match mood {
        Mood::Well | Mood::Miscounts => Ok(()),
        Mood::Fails(kind) => Err(Error::new(kind, "the tier was told to fail").temporary()),
        Mood::Hangs => std::future::pending().await,
        Mood::Slow(time) => {
            tokio::time::sleep(time).await;
            Ok(())
        }
    }
}

#[async_trait]
impl Tier for MapTier {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_local(&self) -> bool {
        self.local
    }

    async fn get_many(&self, keys: &[Key]) -> Result<Vec<Option<Value>>> {
        let mood = {
            let mut inner = self.inner.lock().unwrap();
            inner.lookups += 1;
            inner.reads
        };
        behave(mood).await?;
        let inner = self.inner.lock().unwrap();
        let mut values: Vec<_> = keys.iter().map(|key| inner.entries.get(key).cloned()).collect();
        if mood == Mood::Miscounts {
            values.pop();
        }
        Ok(values)
    }

    async fn put_many(&self, entries: &[(Key, Value)]) -> Result<()> {
        let mood = self.inner.lock().unwrap().writes;
        behave(mood).await?;
        self.inner.lock().unwrap().entries.extend(entries.iter().cloned());
        Ok(())
    }

    async fn remove(&self, keys: &[Key]) -> Result<()> {
        let mut inner = self.inner.lock().unwrap();
        for key in keys {
            inner.entries.remove(key);
        }
        Ok(())
    }

    async fn clear(&self, namespace: Option<&Namespace>) -> Result<()> {
        let kept = |key: &Key| namespace.is_some_and(|namespace| key.namespace() != namespace);
        self.inner.lock().unwrap().entries.retain(|key, _| kept(key));
        Ok(())
    }

    async fn stats(&self) -> Result<TierStats> {
        let mut stats = TierStats::new();
        stats.entries = Some(self.len() as u64);
        Ok(stats)
    }
}

/// A cache over some tiers with the default settings.
pub(crate) fn cache(tiers: &[&MapTier]) -> Cache {
    with_config(CacheConfig::default(), tiers)
}

pub(crate) fn with_config(config: CacheConfig, tiers: &[&MapTier]) -> Cache {
    let tiers = tiers.iter().map(|tier| Arc::new((*tier).clone()) as Arc<dyn Tier>).collect();
    Cache::new(config, tiers).unwrap()
}

pub(crate) fn documents<'a>(texts: impl IntoIterator<Item = &'a str>) -> EmbedRequest {
    EmbedRequest::new(texts, Role::Document)
}

/// Embeds documents, and asserts that every row is the vector of its text.
pub(crate) async fn right(service: &Cached<Scripted>, texts: &[&str]) -> EmbedResponse {
    let response = service.embed(documents(texts.iter().copied())).await.unwrap();
    assert_eq!(response.len(), texts.len());
    for (row, text) in response.rows().zip(texts) {
        assert_eq!(row.unwrap().vector(), service.inner().vector(text, Role::Document));
    }
    response
}

/// The tier that each row came from; empty for a computed row.
pub(crate) fn sources(response: &EmbedResponse) -> Vec<&str> {
    response.rows().map(|row| row.unwrap().info().tier.as_deref().unwrap_or_default()).collect()
}
