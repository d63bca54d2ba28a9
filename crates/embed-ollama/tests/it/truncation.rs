//! No text is cut in silence, on any version.

use embed_core::{EmbedRequest, Embedder, ErrorKind, Role, TokenCount, Truncation};
use embed_testkit::ollama::{OllamaDouble, words};

use crate::{VERSIONS, config, connect, quick};

fn of_words(count: usize) -> String {
    (0..count).map(|i| format!("word{i}")).collect::<Vec<_>>().join(" ")
}

/// Around the limit, where the special tokens decide. 512 is what the model reads, two of it are special.
#[tokio::test]
async fn a_text_is_whole_or_an_error() {
    for version in VERSIONS {
        // These count nothing, so that a text must be short enough by its bytes.
        let blind = ["0.2.0", "0.3.0"].contains(&version);
        let double = OllamaDouble::start(version).await;
        let client = connect(quick(&double)).await;
        for count in [1, 100, 509, 510, 511, 512, 513, 600, 5000] {
            let text = of_words(count);
            let request = EmbedRequest::new([text.as_str(), "a neighbour"], Role::Document);
            let response = client.embed(request).await.unwrap();
            let neighbour = response.row(1).unwrap().vector();
            let expected = double.vector_of("a neighbour");
            assert!(
                embed_core::vector::cosine(neighbour, &expected).unwrap() > 0.9999,
                "{version}: {count} words"
            );
            match response.row(0) {
                Ok(row) => {
                    assert!(count <= 510, "{version}: {count} words were cut in silence");
                    assert!(!row.info().truncated);
                    let cosine = embed_core::vector::cosine(row.vector(), &double.vector_of(&text)).unwrap();
                    assert!(cosine > 0.9999, "{version}: {count} words");
                }
                Err(error) => {
                    assert!(
                        count > 510 || (blind && text.len() > 510),
                        "{version}: {count} words fit: {error}"
                    );
                    assert_eq!(error.kind(), ErrorKind::InputTooLong);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_cut_text_is_a_real_part_and_says_so() {
    for version in ["0.3.4", "0.5.4", "0.9.3", "0.12.11", "0.13.5", "0.30.0"] {
        let double = OllamaDouble::start(version).await;
        let client = connect(quick(&double)).await;
        let text = of_words(3000);
        for policy in [Truncation::End, Truncation::Start] {
            let embed =
                || client.embed(EmbedRequest::new([text.as_str()], Role::Document).with_truncation(policy));
            let response = embed().await.unwrap();
            let row = response.row(0).unwrap();
            let TokenCount { used, total } = row.info().tokens.unwrap();
            assert!(
                row.info().truncated && (505..=512).contains(&used) && total > 2000,
                "{version}: {used} of {total}"
            );
            // The vector is that of the piece, which is a side of the text.
            let words: Vec<_> = text.split(' ').collect();
            let piece = match policy {
                Truncation::End => words[..used - 2].join(" "),
                _ => words[words.len() - (used - 2)..].join(" "),
            };
            let expected = words::vector(&piece, 384, 0.0);
            let spaced = words::vector(&format!(" {piece}"), 384, 0.0);
            let is = |expected| embed_core::vector::cosine(row.vector(), expected).unwrap() > 0.9999;
            assert!(is(&expected) || is(&spaced), "{version}, {policy}");
            // Always the same piece.
            let again = embed().await.unwrap();
            assert_eq!(again.row(0).unwrap().vector(), row.vector());
        }
    }
}

#[tokio::test]
async fn chunks_leave_nothing_out() {
    for version in ["0.5.4", "0.9.3", "0.12.11", "0.30.0"] {
        let double = OllamaDouble::start(version).await;
        let client = connect(quick(&double)).await;
        let text = of_words(2000);
        let request =
            EmbedRequest::new([text.as_str()], Role::Document).with_truncation(Truncation::ChunkMean);
        let response = client.embed(request).await.unwrap();
        let info = response.row(0).unwrap().info();
        assert_eq!(info.tokens, Some(TokenCount { used: 2002, total: 2002 }), "{version}");
        assert!(!info.truncated);
    }
}

#[tokio::test]
async fn every_row_has_its_count_if_asked() {
    for version in ["0.3.4", "0.5.4", "0.9.3", "0.13.5", "0.30.0"] {
        let double = OllamaDouble::start(version).await;
        let mut config = config(&double);
        config.count_tokens = true;
        let client = connect(config).await;
        let texts = ["why is the sky blue?", "one", "富士山"];
        let response = client.embed(EmbedRequest::new(texts, Role::Query)).await.unwrap();
        let counts: Vec<_> = response.rows().map(|row| row.unwrap().info().tokens.unwrap().used).collect();
        assert_eq!(counts, [8, 3, 5], "{version}");
    }
}
