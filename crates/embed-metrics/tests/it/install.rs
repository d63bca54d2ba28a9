//! The recorder of the process, which all tests of this binary share.

use embed_core::{EmbedderExt, ErrorKind};
use embed_metrics::Metered;

use crate::{E5, Page, e5, metrics};

#[tokio::test]
async fn only_one_can_be_installed() {
    let (first, second) = (metrics(), metrics());
    first.install().unwrap();
    for again in [&first, &second] {
        let error = again.install().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("already has a recorder of metrics"), "{error}");
    }
    ::metrics::counter!("somebody_elses_total").increment(2);
    assert!(first.render().contains("somebody_elses_total 2\n"));

    // Metrics that aren't installed work nevertheless, and the two don't mix.
    Metered::new(e5(), &second).encode_query("text").await.unwrap();
    assert!(!second.render().contains("somebody_elses"));
    assert_eq!(Page::of(&second).get("embedding_requests_total", E5), 1.0);
    assert_eq!(Page::of(&first).get("embedding_requests_total", E5), 0.0);
}
