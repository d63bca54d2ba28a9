//! The real models: blocking and async, one space and two.

use std::num::NonZeroUsize;

use embed::{
    EmbedRequest, EmbedResponse, Embedder, EmbedderExt, EmbeddingRef, ErrorKind, Role, Truncation, blocking,
    top_k,
};

use crate::{offline, on_this_machine};

const E5: &str = "multilingual-e5-small";
const MINILM: &str = "all-minilm-l6-v2";

const DOCUMENTS: [&str; 4] = [
    "Preheat the oven to 180 degrees.",
    "富士山の高さは3776メートルです。",
    "Der Bodensee ist 251 m tief.",
    "Mount Fuji is 3776 m high.",
];

fn rows(response: &EmbedResponse) -> Vec<EmbeddingRef<'_>> {
    response.rows().map(Result::unwrap).collect()
}

#[tokio::test]
async fn blocking_and_async_agree_to_the_bit() {
    for name in [E5, MINILM] {
        let Some(model) = on_this_machine(name, offline(name).load().await) else { return };
        // On a thread of its own, where no runtime is.
        let threads = NonZeroUsize::MIN;
        let blocking = std::thread::spawn(move || {
            let model = blocking::load(offline(name).threads(threads)).unwrap();
            let long = "word ".repeat(600);
            let request = EmbedRequest::new([&*long, DOCUMENTS[0]], Role::Query);
            (
                model.encode(DOCUMENTS[1], Role::Document).unwrap(),
                model.encode_query(DOCUMENTS[2]).unwrap(),
                model.encode_document(DOCUMENTS[3]).unwrap(),
                model.encode_batch(&DOCUMENTS, Role::Document).unwrap(),
                model.embed(request.with_truncation(Truncation::ChunkMean)).unwrap(),
                (model.model().clone(), model.encoder().threads()),
            )
        });
        let (one, query, document, batch, request, (info, threads)) = blocking.join().unwrap();
        assert_eq!(one, model.encode(DOCUMENTS[1], Role::Document).await.unwrap());
        assert_eq!(query, model.encode_query(DOCUMENTS[2]).await.unwrap());
        assert_eq!(document, model.encode_document(DOCUMENTS[3]).await.unwrap());
        let expected = model.encode_batch(&DOCUMENTS, Role::Document).await.unwrap();
        assert_eq!(rows(&batch), rows(&expected));
        let long = "word ".repeat(600);
        let chunks = EmbedRequest::new([&*long, DOCUMENTS[0]], Role::Query);
        let expected = model.embed(chunks.with_truncation(Truncation::ChunkMean)).await.unwrap();
        assert_eq!(rows(&request), rows(&expected));
        assert_eq!((&info, threads), (model.model(), 1));
    }
}

#[tokio::test]
async fn blocking_works_on_a_thread_of_a_runtime() {
    let Some(model) = on_this_machine(MINILM, blocking::load(offline(MINILM))) else { return };
    let here = model.encode_query(DOCUMENTS[0]).unwrap();
    assert_eq!(here, model.encoder().encode_query(DOCUMENTS[0]).await.unwrap());
}

#[test]
fn any_executor_will_do() {
    let Some(model) = on_this_machine(MINILM, pollster::block_on(embed::load(offline(MINILM)))) else {
        return;
    };
    let vector = pollster::block_on(model.encode_query(DOCUMENTS[0])).unwrap();
    assert_eq!(vector.len(), model.dimension());
}

#[tokio::test]
async fn the_nearest_documents_are_those_about_the_question_and_of_its_space() {
    let Some(e5) = on_this_machine(E5, offline(E5).load().await) else { return };
    let Some(minilm) = on_this_machine(MINILM, offline(MINILM).load().await) else { return };
    let documents = e5.encode_batch(&DOCUMENTS, Role::Document).await.unwrap();
    let question = "how high is Mount Fuji";
    let query = e5.encode_query(question).await.unwrap();
    let found = top_k(&query, &documents, 2).unwrap();
    let indices: Vec<_> = found.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, [3, 1], "{found:?}");
    for (index, score) in found {
        assert_eq!(score, query.similarity(documents.row(index).unwrap()).unwrap());
    }

    // As wide, and another space.
    let stranger = minilm.encode_query(question).await.unwrap();
    assert_eq!(stranger.len(), query.len());
    assert_eq!(top_k(&stranger, &documents, 2).unwrap_err().kind(), ErrorKind::SpaceMismatch);
}
