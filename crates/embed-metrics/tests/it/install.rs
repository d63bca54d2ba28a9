//! The recorder of the process, which is one for all tests of this binary.

use embed_core::{EmbedderExt, ErrorKind};
use embed_metrics::Metered;

use crate::{E5, Page, e5, metrics};

#[tokio::test]
async fn one_is_installed_and_the_second_is_told() {
    let (first, second) = (metrics(), metrics());
    first.install().unwrap();
    for again in [&first, &second] {
        let error = again.install().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("has a recorder of metrics already"), "{error}");
    }
    ::metrics::counter!("somebody_elses_total").increment(2);
    assert!(first.render().contains("somebody_elses_total 2\n"));

    // What isn't installed works all the same, and the two don't mix.
    Metered::new(e5(), &second).encode_query("text").await.unwrap();
    assert!(!second.render().contains("somebody_elses"));
    assert_eq!(Page::of(&second).get("embedding_requests_total", E5), 1.0);
    assert_eq!(Page::of(&first).get("embedding_requests_total", E5), 0.0);
}
