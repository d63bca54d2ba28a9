//! No text is cut unless its caller asks for it.

use embed_core::{EmbedRequest, Embedder, ErrorKind, Role, Truncation};
use embed_testkit::ollama::words;
use embed_testkit::openai::OpenAiDouble;

use crate::{connect, is_of, quick, request, texts};

fn of_words(count: usize) -> String {
    (0..count).map(|i| format!("word{i}")).collect::<Vec<_>>().join(" ")
}

/// Around the limit, where the special tokens decide. 512 is what the model reads, two of it are special.
#[tokio::test]
async fn a_text_is_whole_or_an_error_even_if_the_server_cuts_in_silence() {
    for cuts in [false, true] {
        let double = OpenAiDouble::start().await;
        double.change(|script| script.cuts = cuts);
        let client = connect(quick(&double).with_max_tokens(512)).await;
        for count in [1, 100, 500, 509, 510, 511, 512, 600, 5000] {
            let text = of_words(count);
            let response = client.embed(request(&[text.as_str(), "a neighbour"])).await.unwrap();
            is_of(&double, response.row(1).unwrap().vector(), "a neighbour");
            match response.row(0) {
                Ok(row) => {
                    assert!(count <= 510 && !row.info().truncated, "{count} words were cut in silence");
                    is_of(&double, row.vector(), &text);
                }
                Err(error) => {
                    // One that ends where a cut one does can't be told from it.
                    assert!(count > if cuts { 509 } else { 510 }, "{count} words fit: {error}");
                    assert_eq!(error.kind(), ErrorKind::InputTooLong);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_cut_text_is_a_real_part_and_says_so_whether_or_not_the_limit_is_known() {
    for (limit, cuts) in [(Some(512), false), (Some(512), true), (None, false)] {
        let double = OpenAiDouble::start().await;
        double.change(|script| script.cuts = cuts);
        let client = connect(quick(&double).with_max_tokens(limit)).await;
        let mut texts = texts(30);
        texts[7] = of_words(3000);
        let words: Vec<_> = texts[7].split(' ').map(str::to_owned).collect();
        for policy in [Truncation::End, Truncation::Start] {
            let response = client.embed(request(&texts).with_truncation(policy)).await.unwrap();
            for (index, (row, text)) in response.rows().zip(&texts).enumerate() {
                let row = row.unwrap();
                assert_eq!(row.info().truncated, index == 7, "{limit:?} {policy}");
                if index != 7 {
                    is_of(&double, row.vector(), text);
                    continue;
                }
                let tokens = row.info().tokens.unwrap();
                assert!((500..=512).contains(&tokens.used) && tokens.total > 2000, "{tokens:?}");
                let kept = tokens.used - 2;
                let piece = match policy {
                    Truncation::End => words[..kept].join(" "),
                    _ => words[words.len() - kept..].join(" "),
                };
                let is = |text: &str| {
                    let expected = words::vector(text, 64, 0.0);
                    embed_core::vector::cosine(row.vector(), &expected).unwrap() > 0.9999
                };
                assert!(is(&piece) || is(&format!(" {piece}")), "{limit:?} {policy}");
            }
        }
    }
}

#[tokio::test]
async fn chunks_leave_nothing_out() {
    let double = OpenAiDouble::start().await;
    let client = connect(quick(&double).with_max_tokens(512)).await;
    let text = of_words(2000);
    let request = EmbedRequest::new([text.as_str()], Role::Document).with_truncation(Truncation::ChunkMean);
    let response = client.embed(request).await.unwrap();
    let info = response.row(0).unwrap().info();
    assert_eq!((info.tokens.unwrap().used, info.truncated), (2002, false));
}
