//! Samples don't pile up without a scrape. A separate process, because the test measures the whole process.

#![cfg(target_os = "linux")]

use embed_metrics::{Metrics, MetricsConfig};
use embed_testkit::resident;

/// Two million samples of at least 8 bytes each would show.
#[test]
fn two_million_samples_take_no_memory() {
    const SAMPLES: usize = 2_000_000;
    let metrics = Metrics::new(MetricsConfig::default()).expect("the settings are right");
    let gateway = metrics.gateway();
    for _ in 0..SAMPLES / 10 {
        drop(gateway.wait());
    }
    let before = resident();
    for _ in 0..SAMPLES {
        drop(gateway.wait());
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more");
    let page = metrics.render();
    assert!(page.contains(&format!("tmws_gateway_queue_seconds_count {}\n", SAMPLES + SAMPLES / 10)));
}
