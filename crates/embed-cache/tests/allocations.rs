//! A hit allocates for its call and its response, and nothing per row. A separate test binary, since it counts with its
//! own allocator.

use std::sync::Arc;

use embed_cache::{
    Cache, CacheConfig, Cached, Element, Key, MemoryConfig, MemoryTier, Namespace, Tier, Value,
};
use embed_core::{EmbedRequest, Embedder, Role, Truncation};
use embed_testkit::Scripted;
use futures::FutureExt;

const DIMENSION: usize = 384;
const ROWS: [usize; 3] = [1, 32, 256];

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("text {i}")).collect()
}

#[test]
fn the_tier_allocates_nothing_per_row() {
    let tier = MemoryTier::new(MemoryConfig::default()).unwrap();
    let namespace = Namespace::named("variant");
    let entries: Vec<_> = texts(256)
        .iter()
        .map(|text| {
            let key = Key::new(&namespace, Role::Query, Truncation::Error, text);
            (key, Value::from_bytes(vec![0; 24 + 4 * DIMENSION]))
        })
        .collect();
    let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
    tier.put_many(&entries).now_or_never().unwrap().unwrap();
    for rows in ROWS {
        let info = allocation_counter::measure(|| {
            let values = tier.get_many(&keys[..rows]).now_or_never().unwrap().unwrap();
            assert!(values.iter().all(Option::is_some));
        });
        // The future and the list of values.
        assert_eq!(info.count_total, 2, "{rows} rows");
    }
}

#[test]
fn a_request_allocates_nothing_per_row() {
    for element in [Element::F32, Element::F16] {
        let tier = MemoryTier::new(MemoryConfig::default()).unwrap();
        let cache = Cache::new(CacheConfig::default().with_element(element), vec![Arc::new(tier)]).unwrap();
        let cached = Cached::new(Scripted::new("model", DIMENSION), cache);
        let request = |rows| EmbedRequest::new(texts(rows), Role::Query);
        cached.embed(request(256)).now_or_never().unwrap().unwrap();
        for rows in ROWS {
            let request = request(rows);
            let info = allocation_counter::measure(|| {
                let response = cached.embed(request).now_or_never().unwrap().unwrap();
                assert_eq!(response.into_complete().unwrap().len(), rows);
            });
            // The keys; the tier's list of values; the future of the call; the response's numbers and rows.
            assert_eq!(info.count_total, 5, "{rows} rows as {element:?}");
        }
    }
}
