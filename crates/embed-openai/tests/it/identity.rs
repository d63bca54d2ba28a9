//! Who a server is: proven by vectors, at the start, after reconnects, when its model's name changes, and between runs.

use embed_core::{Embedder, EmbedderExt, ErrorKind};
use embed_openai::{Identity, OpenAiEmbedder, Upgrade};
use embed_testkit::openai::OpenAiDouble;

use crate::{config, connect, is_of, quick};

#[tokio::test]
async fn the_width_is_learnt_and_the_space_named() {
    let double = OpenAiDouble::start().await;
    let client = connect(config(&double)).await;
    assert_eq!(client.model().variant().id(), "text-embedding-3-small/unknown/plain/l2/64;api=openai");
    let named = connect(config(&double).with_space("e3-small".to_owned())).await;
    assert_eq!(named.model().space().model(), "e3-small");
}

#[tokio::test]
async fn a_restart_as_the_same_server_changes_nothing() {
    let double = OpenAiDouble::start().await;
    let (port, client) = (double.port(), connect(quick(&double)).await);
    let before = client.encode_query("a text").await.unwrap();
    drop(double);
    let _double = OpenAiDouble::start_at(port).await;
    let after = client.encode_query("a text").await.unwrap();
    assert_eq!(before.info().model.variant(), after.info().model.variant());
    assert_eq!(client.stats().remote.identity_checks, 2);
}

#[tokio::test]
async fn a_server_that_came_back_with_other_vectors_is_refused() {
    for drift in [0.3, 3.0] {
        let double = OpenAiDouble::start().await;
        let (port, client) = (double.port(), connect(quick(&double)).await);
        client.encode_query("a text").await.unwrap();
        drop(double);
        let double = OpenAiDouble::start_at(port).await;
        double.change(|script| script.drift = drift);
        let error = client.encode_query("a text").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SpaceMismatch, "{error:?}");
        assert_eq!(client.stats().remote.refused_servers, 1);
        // What comes back as it was is taken again.
        double.change(|script| script.drift = 0.0);
        is_of(&double, client.encode_query("a text").await.unwrap().vector(), "a text");
    }
}

#[tokio::test]
async fn another_name_in_an_answer_is_proven_by_vectors() {
    let double = OpenAiDouble::start().await;
    let client = connect(quick(&double)).await;
    double.change(|script| script.answers_as = "an-alias".into());
    client.encode_query("a text").await.unwrap();
    assert_eq!(client.servers()[0].model.as_deref(), Some("an-alias"));
    double.change(|script| {
        script.answers_as = "another-model".into();
        script.drift = 3.0;
    });
    let error = client.encode_query("a text").await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::SpaceMismatch && error.to_string().contains("another-model"),
        "{error}"
    );
}

/// As a proxy does that shares the requests among several servers.
#[tokio::test]
async fn names_that_take_turns_are_proven_once() {
    let double = OpenAiDouble::start().await;
    let client = connect(quick(&double)).await;
    for round in 0..10 {
        double.change(|script| script.answers_as = ["one", "another"][round % 2].into());
        client.encode_query(&format!("text {round}")).await.unwrap();
    }
    assert_eq!(client.stats().remote.identity_checks, 3, "one at the start, and one for each name");
}

#[tokio::test]
async fn moved_vectors_may_become_a_new_variant() {
    let double = OpenAiDouble::start().await;
    let client = connect(quick(&double).with_upgrade(Upgrade::NewVariant)).await;
    let old = client.encode_query("a text").await.unwrap();
    double.change(|script| {
        script.answers_as = "text-embedding-3-small-v2".into();
        script.drift = 0.1;
    });
    let new = client.encode_query("a text").await.unwrap();
    assert_ne!(old.info().model.variant(), new.info().model.variant());
    assert!(old.similarity(&new).unwrap() > 0.97, "the space stays");
}

#[tokio::test]
async fn an_identity_of_an_earlier_run_is_expected() {
    let double = OpenAiDouble::start().await;
    let first = connect(config(&double)).await;
    let kept = serde_json::to_string(&first.identity().unwrap()).unwrap();
    let kept: Identity = serde_json::from_str(&kept).unwrap();
    let second = connect(config(&double).with_expected(kept.clone())).await;
    assert_eq!(first.model().variant(), second.model().variant());
    double.change(|script| script.drift = 0.1);
    let error = OpenAiEmbedder::connect(config(&double).with_expected(kept)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SpaceMismatch);
}

#[tokio::test]
async fn servers_of_other_vectors_are_refused() {
    let (first, second) = (OpenAiDouble::start().await, OpenAiDouble::start().await);
    second.change(|script| script.drift = 3.0);
    let config = config(&first).with_servers([first.url(), second.url()]);
    assert_eq!(OpenAiEmbedder::connect(config).await.unwrap_err().kind(), ErrorKind::SpaceMismatch);
}
