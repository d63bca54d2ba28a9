//! The hit rate of the memory tier compared with moka's.

use embed_cache::{Key, MemoryConfig, MemoryTier, Namespace, Tier, Value};
use embed_core::{Role, Truncation};
use moka::sync::Cache as Moka;

const KEYS: usize = 200_000;
const REQUESTS: usize = 500_000;
/// A tenth of the keys fit.
const LIMIT: u64 = 20_000 * 1692;

/// Requests whose keys follow Zipf's law with exponent `s`.
fn zipf(s: f64, seed: u64) -> impl Iterator<Item = usize> {
    let mut sum = 0.0;
    let until: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += (rank as f64).powf(-s);
            sum
        })
        .collect();
    // SplitMix64.
    let mut state = seed;
    (0..REQUESTS).map(move |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        until.partition_point(|end| *end <= share * sum).min(KEYS - 1)
    })
}

#[tokio::test]
async fn the_hit_rate_is_not_below_that_of_moka() {
    let namespace = Namespace::named("variant");
    let keys: Vec<_> =
        (0..KEYS).map(|i| Key::new(&namespace, Role::Query, Truncation::End, &i.to_string())).collect();
    // All values have the same bytes, since only their length matters.
    let value = Value::from_bytes(vec![0; 24 + 384 * 4]);
    for (s, seed) in [(0.9, 1), (1.0, 2)] {
        let tier = MemoryTier::new(MemoryConfig::default().with_max_bytes(LIMIT)).unwrap();
        let moka = Moka::builder().max_capacity(LIMIT).weigher(|_, _| 1692).build();
        let (mut hits, mut moka_hits) = (0, 0);
        for i in zipf(s, seed) {
            let key = &keys[i];
            if tier.get_many(std::slice::from_ref(key)).await.unwrap()[0].is_some() {
                hits += 1;
            } else {
                tier.put_many(&[(key.clone(), value.clone())]).await.unwrap();
            }
            if moka.get(key).is_some() {
                moka_hits += 1;
            } else {
                moka.insert(key.clone(), value.clone());
            }
        }
        println!("s = {s}, seed {seed}: {hits} hits of {REQUESTS}, moka {moka_hits}");
        assert!(hits >= moka_hits, "s = {s}, seed {seed}: {hits} hits of {REQUESTS}, moka {moka_hits}");
    }
}
