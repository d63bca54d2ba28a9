//! Samples don't pile up without a scrape. A separate process, because the test measures the whole process.

#![cfg(target_os = "linux")]

use embed_metrics::{Metrics, MetricsConfig};

/// Resident bytes of this process.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has the line");
    let kib: u64 = line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number");
    kib * 1024
}

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
