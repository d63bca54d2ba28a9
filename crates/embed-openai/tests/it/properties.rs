//! Whatever limits a server has and whichever texts it refuses: each row is there once, in its place.

use embed_core::Embedder;
use embed_testkit::openai::OpenAiDouble;
use proptest::prelude::*;

use crate::{connect, is_of, quick, request};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn each_row_is_there_once_and_in_its_place(
        kinds in prop::collection::vec(prop::sample::select(vec![0_u8, 0, 0, 0, 0, 1, 2]), 1..120),
        max_rows in 1_usize..50,
        request_tokens in 70_usize..600,
        batch_rows in 1_usize..130,
        shuffles: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let double = OpenAiDouble::start().await;
            let client = connect(quick(&double).with_max_batch_rows(batch_rows)).await;
            double.change(|script| {
                script.max_rows = max_rows;
                // More than the probes have.
                script.max_tokens = 60;
                script.request_tokens = request_tokens;
                script.shuffles = shuffles;
                script.poison = Some("poison".into());
            });
            let texts: Vec<String> = kinds.iter().enumerate().map(|(index, kind)| match kind {
                0 => format!("text {index}"),
                1 => format!("poison {index}"),
                _ => format!("long {index}{}", " word".repeat(80)),
            }).collect();
            let response = client.embed(request(&texts)).await.unwrap();
            prop_assert_eq!(response.len(), texts.len());
            for ((row, text), kind) in response.rows().zip(&texts).zip(&kinds) {
                prop_assert_eq!(row.is_ok(), *kind == 0, "{}", text);
                if let Ok(row) = row {
                    is_of(&double, row.vector(), text);
                }
            }
            Ok(())
        })?;
    }
}
