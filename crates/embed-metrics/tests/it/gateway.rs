//! What a gateway records.

use crate::{Page, metrics};

#[test]
fn requests_by_dialect_and_status() {
    let metrics = metrics();
    let gateway = metrics.gateway();
    for status in [200, 201, 429, 418, 503, 599, 700] {
        gateway.request("openai").answered(status);
    }
    gateway.request("telnet").answered(200);
    let held = gateway.request("tei");
    let page = Page::of(&metrics);
    let of = |dialect: &str, status: &str| {
        page.get("gateway_requests_total", &format!(r#"dialect="{dialect}",status="{status}""#))
    };
    assert_eq!(of("openai", "2xx"), 2.0);
    assert_eq!([of("openai", "429"), of("openai", "4xx")], [1.0, 1.0]);
    assert_eq!([of("openai", "503"), of("openai", "5xx")], [1.0, 2.0], "an invalid status counts as 5xx");
    assert_eq!(of("other", "2xx"), 1.0);
    assert_eq!(page.get("gateway_latency_seconds_count", r#"dialect="openai""#), 7.0);
    assert_eq!(page.get("gateway_in_flight", r#"dialect="tei""#), 1.0);

    drop(held);
    let page = Page::of(&metrics);
    assert_eq!(page.get("gateway_in_flight", r#"dialect="tei""#), 0.0);
    assert_eq!(page.get("gateway_requests_total", r#"dialect="tei",status="cancelled""#), 1.0);
    assert_eq!(page.get("gateway_latency_seconds_count", r#"dialect="tei""#), 0.0);
}

#[test]
fn a_request_is_in_the_queue_until_its_place_is_dropped() {
    let metrics = metrics();
    let gateway = metrics.gateway();
    let places = [gateway.wait(), gateway.clone().wait()];
    assert_eq!(Page::of(&metrics).get("gateway_queue_depth", ""), 2.0);
    drop(places);
    let page = Page::of(&metrics);
    assert_eq!(page.get("gateway_queue_depth", ""), 0.0);
    assert_eq!(page.get("gateway_queue_seconds_count", ""), 2.0);
}
