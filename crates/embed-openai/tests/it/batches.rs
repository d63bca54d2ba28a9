//! Batches: order, limits, and the one text that spoils a request.

use std::time::Duration;

use embed_core::{Embedder, EmbedderExt, ErrorKind, Role};
use embed_openai::{OpenAiConfig, Prompts};
use embed_testkit::ollama::{Fault, RowsFault};
use embed_testkit::openai::{OpenAiDouble, Support};

use crate::{config, connect, inputs, is_of, quick, request, rows_are_right, texts};

#[tokio::test]
async fn rows_stand_where_their_index_says() {
    let double = OpenAiDouble::start().await;
    double.change(|script| script.shuffles = true);
    let texts = texts(300);
    let client = connect(quick(&double)).await;
    rows_are_right(&double, &client.embed(request(&texts)).await.unwrap(), &texts);
}

#[tokio::test]
async fn a_server_that_takes_few_texts_gets_few_from_then_on() {
    let double = OpenAiDouble::start().await;
    double.change(|script| script.max_rows = 32);
    let client = connect(quick(&double)).await;
    let texts = texts(200);
    rows_are_right(&double, &client.embed(request(&texts)).await.unwrap(), &texts);
    let rows = client.servers()[0].max_batch_rows;
    assert!((16..=32).contains(&rows), "{rows}");
    assert!(client.stats().remote.splits > 0 && client.stats().remote.bisections == 0);
    double.forget();
    rows_are_right(&double, &client.embed(request(&texts)).await.unwrap(), &texts);
    assert!(inputs(&double).iter().all(|inputs| *inputs <= 32), "{:?}", inputs(&double));
}

#[tokio::test]
async fn a_server_that_takes_few_tokens_at_once_gets_few() {
    let double = OpenAiDouble::start().await;
    double.change(|script| script.request_tokens = 100);
    let client = connect(quick(&double)).await;
    let texts = texts(200);
    rows_are_right(&double, &client.embed(request(&texts)).await.unwrap(), &texts);
}

#[tokio::test]
async fn a_bad_text_fails_alone_and_is_in_no_error() {
    for at in [0, 77, 199] {
        let double = OpenAiDouble::start().await;
        double.change(|script| script.poison = Some("arsenic".into()));
        let client = connect(quick(&double)).await;
        let mut texts = texts(200);
        texts[at] = "arsenic and old lace".into();
        let response = client.embed(request(&texts)).await.unwrap();
        let failed: Vec<_> = response.errors().map(|(row, error)| (row, error.kind())).collect();
        assert_eq!(failed, [(at, ErrorKind::Protocol)]);
        let error = response.row(at).unwrap_err();
        assert!(!format!("{error:?}").contains("arsenic"), "{error:?}");
        for (row, text) in response.rows().zip(&texts).filter_map(|(row, text)| Some((row.ok()?, text))) {
            is_of(&double, row.vector(), text);
        }
    }
}

/// The double quotes the text, as servers do.
#[tokio::test]
async fn a_text_whose_words_are_those_of_a_limit_makes_no_other_fail_or_slow() {
    for words in
        ["batch size", "tokens per request", "does not exist", "dimensions", "base64", "context length"]
    {
        let double = OpenAiDouble::start().await;
        double.change(|script| script.poison = Some(words.into()));
        let client = connect(quick(&double)).await;
        let mut texts = texts(100);
        texts[42] = format!("on the {words} of things");
        let response = client.embed(request(&texts)).await.unwrap();
        let failed: Vec<_> = response.errors().map(|(row, _)| row).collect();
        assert_eq!(failed, [42], "{words}");
        assert_eq!(client.servers()[0].max_batch_rows, 128, "{words}");
    }
}

#[tokio::test]
async fn rows_that_are_no_vectors_are_asked_for_again() {
    let faults = [
        RowsFault::Null(3),
        RowsFault::NotFinite(3),
        RowsFault::Zero(3),
        RowsFault::Narrow(3),
        RowsFault::Missing(3),
        RowsFault::Extra,
        RowsFault::None,
    ];
    for support in [Support::Full, Support::Ignored] {
        for fault in faults {
            let double = OpenAiDouble::start().await;
            double.change(|script| script.base64 = support);
            let client = connect(quick(&double)).await;
            double.fail([Fault::Rows(fault)]);
            let texts = texts(20);
            rows_are_right(&double, &client.embed(request(&texts)).await.unwrap(), &texts);
        }
    }
}

#[tokio::test]
async fn a_text_that_the_model_has_no_numbers_for_fails_alone() {
    for support in [Support::Full, Support::Ignored] {
        let double = OpenAiDouble::start().await;
        double.change(|script| (script.base64, script.nan) = (support, Some("void".into())));
        let client = connect(quick(&double)).await;
        let mut texts = texts(50);
        texts[31] = "the void".into();
        let response = client.embed(request(&texts)).await.unwrap();
        let failed: Vec<_> = response.errors().map(|(row, error)| (row, error.kind())).collect();
        assert_eq!(failed, [(31, ErrorKind::Protocol)]);
    }
}

#[tokio::test]
async fn base64_is_asked_for_until_it_is_refused() {
    let double = OpenAiDouble::start().await;
    let client = connect(quick(&double)).await;
    client.encode_query("a text").await.unwrap();
    assert!(double.requests().iter().all(|request| request.body["encoding_format"] == "base64"));
    double.change(|script| script.base64 = Support::Refused);
    double.forget();
    is_of(&double, client.encode_query("a text").await.unwrap().vector(), "a text");
    client.encode_query("another").await.unwrap();
    let asked: Vec<_> =
        double.requests().iter().map(|request| !request.body["encoding_format"].is_null()).collect();
    assert_eq!((asked, client.stats().without_base64), (vec![true, false, false], 1));
}

#[tokio::test]
async fn dimensions_are_cut_by_the_server_or_here() {
    let mut variants = Vec::new();
    for support in [Support::Full, Support::Ignored] {
        let double = OpenAiDouble::start().await;
        double.change(|script| script.dimensions = support);
        let client = connect(quick(&double).with_dimensions(16)).await;
        assert_eq!(client.dimension(), 16);
        let row = client.encode_query("a text").await.unwrap();
        let expected = embed_core::vector::truncate_dimensions(&double.vector_of("a text"), 16).unwrap();
        assert!(embed_core::vector::cosine(row.vector(), &expected).unwrap() > 0.9999);
        variants.push(client.model().variant().clone());
    }
    assert_eq!(variants[0], variants[1]);
    let double = OpenAiDouble::start().await;
    double.change(|script| script.dimensions = Support::Refused);
    let error = embed_openai::OpenAiEmbedder::connect(quick(&double).with_dimensions(16)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.message().contains("`dimensions`"), "{error}");
}

#[tokio::test]
async fn prompts_and_input_types_go_by_the_role() {
    let double = OpenAiDouble::start().await;
    let config = quick(&double)
        .with_prompts(Prompts::new("query: ", "passage: "))
        .with_input_types("query", "document");
    let client = connect(config).await;
    double.forget();
    is_of(&double, client.encode_query("a text").await.unwrap().vector(), "query: a text");
    is_of(&double, client.encode_document("a text").await.unwrap().vector(), "passage: a text");
    let types: Vec<_> = double.requests().iter().map(|request| request.body["input_type"].clone()).collect();
    assert_eq!(types, ["query", "document"]);
    assert!(client.model().space().id().contains("/query-passage/"), "{}", client.model().space());
}

#[tokio::test]
async fn tokens_are_those_of_a_text_alone_or_of_the_answer() {
    let double = OpenAiDouble::start().await;
    let client = connect(quick(&double)).await;
    let alone = client.embed(request(&["why is the sky blue?"])).await.unwrap();
    assert_eq!(alone.row(0).unwrap().info().tokens.unwrap().used, 8);
    let before = client.stats().tokens;
    let together = client.embed(request(&["why is the sky blue?", "one"])).await.unwrap();
    assert!(together.rows().all(|row| row.unwrap().info().tokens.is_none()), "whose are they?");
    assert_eq!(client.stats().tokens - before, 8 + 3);
    let counting = connect(quick(&double).with_count_tokens(true)).await;
    let response = counting.encode_batch(&["why is the sky blue?", "one"], Role::Query).await.unwrap();
    let counts: Vec<_> = response.rows().map(|row| row.unwrap().info().tokens.unwrap().used).collect();
    assert_eq!(counts, [8, 3]);
}

#[tokio::test]
async fn several_servers_share_the_work_and_one_that_dies_loses_no_row() {
    let (first, second) = (OpenAiDouble::start().await, OpenAiDouble::start().await);
    let servers = [first.url(), second.url()];
    let config = OpenAiConfig::new("text-embedding-3-small", "").with_servers(servers);
    let client = connect(
        config.with_pauses(Duration::from_millis(5), Duration::from_millis(20)).with_max_batch_rows(10),
    )
    .await;
    let texts = texts(200);
    first.forget();
    second.forget();
    rows_are_right(&first, &client.embed(request(&texts)).await.unwrap(), &texts);
    assert!(!first.requests().is_empty() && !second.requests().is_empty());
    second.fail([Fault::Cut(0), Fault::Cut(100), Fault::Silence]);
    drop(second);
    rows_are_right(&first, &client.embed(request(&texts)).await.unwrap(), &texts);
}

#[tokio::test]
async fn what_dies_in_the_middle_of_an_answer_is_asked_again() {
    let double = OpenAiDouble::start().await;
    let client =
        connect(config(&double).with_pauses(Duration::from_millis(5), Duration::from_millis(20))).await;
    double.fail([Fault::Cut(100), Fault::Cut(0)]);
    let texts = texts(40);
    rows_are_right(&double, &client.embed(request(&texts)).await.unwrap(), &texts);
}
