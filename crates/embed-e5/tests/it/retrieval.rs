//! Does it find things? English queries, Japanese documents.

use embed_core::{EmbedderExt, Role};
use embed_e5::Precision;
use embed_testkit::data::udhr_in;

use crate::model;

#[tokio::test]
async fn meaning_counts_more_than_language() {
    let Some(e5) = model(Precision::Int8) else { return };
    let query = e5.encode_query("database query optimization").await.unwrap();
    let to = async |text: &str| query.similarity(&e5.encode_query(text).await.unwrap()).unwrap();
    let cooking = to("cooking recipes").await;
    let same = to("optimize database queries").await;
    let japanese = to("データベースのクエリを最適化する方法").await;
    assert!(same > cooking && japanese > cooking, "{same} {japanese} against {cooking}");
}

#[tokio::test]
async fn an_english_article_finds_its_japanese_counterpart() {
    let Some(e5) = model(Precision::Int8) else { return };
    let (english, japanese) = (udhr_in("en"), udhr_in("ja"));
    let texts = |texts: &'static [String]| texts.iter().map(String::as_str).collect::<Vec<_>>();
    let queries = e5.encode_batch(&texts(english.leak()), Role::Query).await.unwrap();
    let documents = e5.encode_batch(&texts(japanese.leak()), Role::Document).await.unwrap();
    let found = (0..30)
        .filter(|&query| {
            let score = |document: usize| {
                queries.row(query).unwrap().similarity(documents.row(document).unwrap()).unwrap()
            };
            (0..30).max_by(|&a, &b| score(a).total_cmp(&score(b))) == Some(query)
        })
        .count();
    assert!(found >= 28, "{found} of 30");
}
