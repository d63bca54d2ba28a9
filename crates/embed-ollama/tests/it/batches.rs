//! Batches: order, limits, equal texts, and the one text that spoils a request.

use embed_core::{Embedder, ErrorKind, Retry};
use embed_testkit::ollama::{Fault, OllamaDouble, RowsFault};
use futures::future::join_all;

use crate::{VERSIONS, connect, quick, request, rows_are_right, texts};

#[tokio::test]
async fn sixteen_tasks_get_their_own_rows_from_every_version() {
    for version in VERSIONS {
        let double = OllamaDouble::start(version).await;
        let client = connect(quick(&double)).await;
        let calls = (0..16).map(|task| {
            let texts: Vec<_> = (0..25).map(|i| format!("text {i} of task {task}")).collect();
            let client = &client;
            async move { (client.embed(request(&texts)).await.unwrap(), texts) }
        });
        for (response, texts) in join_all(calls).await {
            rows_are_right(&double, &response, &texts).unwrap_or_else(|error| panic!("{version}: {error}"));
        }
        let one_by_one = ["0.2.0", "0.3.0", "0.3.4", "0.3.5", "0.3.6", "0.5.4", "0.5.7"].contains(&version);
        assert_eq!(double.most_in_flight() <= 1, one_by_one, "{version}: {}", double.most_in_flight());
    }
}

/// The checks here would see a mistake: a server that shuffles although its version shouldn't is caught.
#[tokio::test]
async fn a_shuffling_server_would_be_seen() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(quick(&double)).await;
    double.change(|script| script.shuffle = true);
    let texts = texts(40);
    let response = client.embed(request(&texts)).await.unwrap();
    assert!(rows_are_right(&double, &response, &texts).is_err());
}

#[tokio::test]
async fn one_poisonous_text_among_256_fails_alone() {
    for version in ["0.3.5", "0.5.4", "0.5.8", "0.9.3", "0.12.11", "0.13.5", "0.30.0"] {
        for at in [0, 100, 255] {
            let double = OllamaDouble::start(version).await;
            let client = connect(quick(&double)).await;
            double.change(|script| script.poison = Some("arsenic".into()));
            double.forget();
            let mut texts = texts(256);
            texts[at] = "arsenic and old lace".into();
            let response = client.embed(request(&texts)).await.unwrap();
            let failed: Vec<_> = response.errors().map(|(row, _)| row).collect();
            assert_eq!(failed, [at], "{version}");
            let error = response.row(at).unwrap_err();
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Exhausted));
            assert!(!format!("{error:?}").contains("arsenic"));
            let requests = double.requests_for("/api/embed").len();
            let batches = version != "0.3.5" && version != "0.5.4";
            assert!(!batches || requests <= 20, "{version}: {requests} requests");
            texts.remove(at);
            let good: Vec<_> = response.rows().flatten().map(|row| row.vector().to_vec()).collect();
            for (vector, text) in good.iter().zip(&texts) {
                assert!(embed_core::vector::cosine(vector, &double.vector_of(text)).unwrap() > 0.9999);
            }
        }
    }
}

#[tokio::test]
async fn two_poisonous_texts_fail_alone() {
    let double = OllamaDouble::start("0.13.5").await;
    let client = connect(quick(&double)).await;
    double.change(|script| script.poison = Some("arsenic".into()));
    let mut texts = texts(64);
    texts[3] = "arsenic".into();
    texts[60] = "more arsenic".into();
    let response = client.embed(request(&texts)).await.unwrap();
    let failed: Vec<_> = response.errors().map(|(row, _)| row).collect();
    assert_eq!(failed, [3, 60]);
}

#[tokio::test]
async fn bad_rows_are_asked_for_again_and_the_good_ones_are_kept() {
    let faults = [
        RowsFault::Null(3),
        RowsFault::NotFinite(3),
        RowsFault::Zero(3),
        RowsFault::Narrow(3),
        RowsFault::Long(3),
        RowsFault::Missing(3),
        RowsFault::Extra,
    ];
    for fault in faults {
        let double = OllamaDouble::start("0.9.3").await;
        let client = connect(quick(&double)).await;
        double.forget();
        double.fail([Fault::Rows(fault)]);
        let texts = texts(20);
        let response = client.embed(request(&texts)).await.unwrap();
        rows_are_right(&double, &response, &texts).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        let asked: Vec<_> =
            double.requests_for("/api/embed").iter().map(embed_testkit::ollama::Recorded::inputs).collect();
        let expected = match fault {
            // No row can be trusted.
            RowsFault::Missing(_) | RowsFault::Extra => [20, 20],
            _ => [20, 1],
        };
        assert_eq!(asked, expected, "{fault:?}");
    }
}

#[tokio::test]
async fn a_row_that_stays_bad_is_an_error_of_its_own() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(quick(&double)).await;
    double.fail(vec![Fault::Rows(RowsFault::Zero(0)); 10]);
    let texts = texts(8);
    let response = client.embed(request(&texts)).await.unwrap();
    let failed: Vec<_> = response.errors().map(|(row, error)| (row, error.kind())).collect();
    assert_eq!(failed, [(0, ErrorKind::Protocol)]);
    assert!(client.stats().bad_rows >= 2);
}

#[tokio::test]
async fn equal_texts_are_sent_once() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(quick(&double)).await;
    double.forget();
    let texts: Vec<_> = ["a", "b", "a", "a", "c", "b"].map(str::to_owned).into();
    let response = client.embed(request(&texts)).await.unwrap();
    rows_are_right(&double, &response, &texts).unwrap();
    assert_eq!(double.requests_for("/api/embed")[0].inputs(), 3);
    assert_eq!(client.stats().duplicates, 3);
}

#[tokio::test]
async fn one_vector_for_different_texts_is_counted() {
    let double = OllamaDouble::start("0.9.3").await;
    let client = connect(quick(&double)).await;
    double.fail([Fault::Rows(RowsFault::Same)]);
    let response = client.embed(request(&texts(5))).await.unwrap();
    assert_eq!(response.errors().count(), 0);
    assert_eq!(client.stats().shared_vectors, 4);
}

#[tokio::test]
async fn requests_are_cut_by_bytes_and_rows() {
    let double = OllamaDouble::start("0.9.3").await;
    let mut config = quick(&double);
    (config.max_batch_bytes, config.max_batch_rows) = (1000, 30);
    let client = connect(config).await;
    double.forget();
    let texts: Vec<_> =
        (0..100).map(|i| format!("{i} {}", "word ".repeat(if i % 2 == 0 { 1 } else { 40 }))).collect();
    let response = client.embed(request(&texts)).await.unwrap();
    rows_are_right(&double, &response, &texts).unwrap();
    for request in double.requests_for("/api/embed") {
        let inputs: Vec<_> = request.body["input"].as_array().unwrap().iter().collect();
        let bytes: usize = inputs.iter().map(|text| text.as_str().unwrap().len()).sum();
        assert!(bytes <= 1000 && inputs.len() <= 30, "{bytes} bytes, {} rows", inputs.len());
        assert!(request.body["keep_alive"].is_number());
        assert_eq!(request.body["truncate"], false);
    }
}
