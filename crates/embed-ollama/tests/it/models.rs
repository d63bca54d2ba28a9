//! The models of a server.

use embed_core::ErrorKind;
use embed_ollama::{OllamaConfig, OllamaModels, Profile};
use embed_testkit::ollama::OllamaDouble;

fn models(double: &OllamaDouble) -> OllamaModels {
    OllamaModels::new(OllamaConfig::new("all-minilm", double.url())).unwrap()
}

#[tokio::test]
async fn they_are_listed_and_described() {
    let double = OllamaDouble::start("0.5.4").await;
    let models = models(&double);
    assert_eq!(models.version().await.unwrap(), ("0.5.4".to_owned(), Profile::D));
    let list = models.list().await.unwrap();
    let names: Vec<_> = list.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["all-minilm:latest", "llama3:latest"]);
    assert!(models.loaded().await.unwrap().is_empty());
    let details = models.show("all-minilm").await.unwrap();
    assert_eq!((details.embeds, details.width, details.context), (Some(true), Some(384), Some(512)));
    assert_eq!(models.show("llama3").await.unwrap().embeds, Some(false));
    let error = models.show("nobody").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
    assert!(error.to_string().contains("ollama pull nobody"));
}

#[tokio::test]
async fn a_pull_shows_its_progress() {
    let double = OllamaDouble::start("0.9.3").await;
    let mut pull = models(&double).pull("all-minilm").await.unwrap();
    let mut steps = Vec::new();
    while let Some(step) = pull.next().await {
        steps.push(step.unwrap());
    }
    assert_eq!(steps.first().unwrap().status, "pulling manifest");
    assert_eq!(steps[2].completed, Some(15_000_000));
    assert_eq!(steps.last().unwrap().status, "success");
}

#[tokio::test]
async fn a_pull_that_fails_is_an_error_though_its_status_is_200() {
    let double = OllamaDouble::start("0.9.3").await;
    for (name, kind, temporary) in
        [("unknown-model", ErrorKind::ModelNotFound, false), ("half-model", ErrorKind::Unavailable, true)]
    {
        let mut pull = models(&double).pull(name).await.unwrap();
        let mut error = None;
        while let Some(step) = pull.next().await {
            error = step.err();
        }
        let error = error.unwrap();
        assert_eq!((error.kind(), error.is_temporary()), (kind, temporary), "{name}");
        assert!(pull.next().await.is_none());
    }
    let error = models(&double).pull(" ").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}
