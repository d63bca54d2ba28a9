//! A whole stack from a file, against its models alone.

use std::fs;
use std::path::PathBuf;

use embed::stack::{self, StackBuilder, settings};
use embed::{Coverage, EmbedRequest, EmbedResponse, Embedder, EmbedderExt, ErrorKind, Role, blocking};
use tempfile::TempDir;

use crate::{offline, on_this_machine};

/// Two models by language, and what a server would read besides.
const FILE: &str = r#"
[[model]]
name = "english"
model = "all-minilm-l6-v2"
languages = ["en"]

[[model]]
name = "multilingual-e5-small"

[routes]
en = "english"
"*" = "multilingual-e5-small"

[gateway]
listen = "127.0.0.1:0"
max_rows = 12

[log]
format = "json"
"#;

const ENGLISH: &str = "How high is the mountain, and how long does it take to walk up there?";
const JAPANESE: &str = "富士山の高さは3776メートルです。";

fn written(text: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("embed.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// The stack of a file alone, for which nothing is fetched.
fn of_file(text: &str) -> StackBuilder {
    let (_folder, path) = written(text);
    let settings = settings::read_file(&path).map_err(embed::Error::from);
    never(StackBuilder::from(settings.unwrap()))
}

fn never(stack: StackBuilder) -> StackBuilder {
    #[cfg(feature = "pull")]
    let stack = stack.pull(embed::Pull::Never);
    stack
}

fn request() -> EmbedRequest {
    EmbedRequest::new([ENGLISH, JAPANESE, ENGLISH], Role::Document)
}

fn vectors(response: &EmbedResponse) -> Vec<(String, Vec<f32>)> {
    let rows = response.rows().map(Result::unwrap);
    rows.map(|row| (row.space().to_string(), row.to_vec())).collect()
}

#[tokio::test]
async fn rows_are_those_of_the_models_alone() {
    let Some(english) = on_this_machine("all-minilm-l6-v2", offline("all-minilm-l6-v2").load().await) else {
        return;
    };
    let Some(e5) = on_this_machine("multilingual-e5-small", offline("multilingual-e5-small").load().await)
    else {
        return;
    };
    let alone = [
        english.encode_document(ENGLISH).await.unwrap(),
        e5.encode_document(JAPANESE).await.unwrap(),
        english.encode_document(ENGLISH).await.unwrap(),
    ];
    let expected: Vec<_> = alone.iter().map(|row| (row.space().to_string(), row.to_vec())).collect();
    assert_ne!(expected[0].0, expected[1].0);

    let stack = of_file(FILE).load().await.unwrap();
    assert_eq!(stack.model().name(), "multilingual-e5-small");
    assert_eq!(vectors(&stack.embed(request()).await.unwrap()), expected);
    assert_eq!(vectors(&stack.embed(request()).await.unwrap()), expected, "from the cache");
    let hits: u64 = stack.cache().unwrap().stats().await.tiers.iter().map(|tier| tier.hits).sum();
    assert!(hits >= 3, "{hits}");
    let plan = stack.router().plan_query(ENGLISH).await.unwrap();
    let spaces: Vec<_> = plan.vectors().map(|vector| vector.space().to_string()).collect();
    assert_eq!(spaces.len(), 2, "{spaces:?}");
    stack.finish().await.unwrap();

    // On a thread without a runtime, and on one that has another.
    let twin = || {
        let stack = blocking::stack::from_settings(of_file(FILE)).unwrap();
        let rows = vectors(&stack.embed(request()).unwrap());
        let one = stack.encode_document(JAPANESE).unwrap().to_vec();
        assert_eq!(one, rows[1].1);
        let plans = stack.plan(EmbedRequest::new([ENGLISH], Role::Query), Coverage::Reachable).unwrap();
        assert_eq!(plans[0].vectors().count(), 2);
        stack.finish().unwrap();
        rows
    };
    assert_eq!(twin(), expected);
    assert_eq!(std::thread::spawn(twin).join().unwrap(), expected);
}

#[tokio::test]
async fn a_wrong_file_is_named_with_its_line() {
    let (_folder, path) = written("[cache]\nplace = \"memory\"\nmemory_byts = 12\n");
    for error in [
        stack::from_file(&path).await.unwrap_err(),
        blocking::stack::from_file(&path).unwrap_err(),
        stack::file(&path).load().await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Config);
        let expected = format!("{}:3: cache.memory_byts: there is no such setting", path.display());
        assert!(error.to_string().contains(&expected), "{error}");
        assert!(error.to_string().contains("cache.memory_bytes"), "{error}");
    }
    let error = stack::from_file("/no/such/file.toml").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("/no/such/file.toml"), "{error}");
}

#[tokio::test]
async fn a_missing_model_names_its_route_and_the_fix() {
    let home = TempDir::new().unwrap();
    let one = "[[model]]\nname = \"english\"\nmodel = \"all-minilm-l6-v2\"\n";
    let error = of_file(one).home(home.path()).load().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
    let fix = if cfg!(feature = "pull") { "`Pull::Missing` fetches it" } else { "the feature `pull`" };
    for part in ["embed models pull all-minilm-l6-v2 --precision int8", "for the route english", fix] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(fs::read_dir(home.path()).unwrap().next().is_none(), "nothing was fetched");
}
