//! The output of the commands about Ollama.

use std::fmt::Write as _;

use embed_core::{Error, ErrorKind};
use embed_ollama::{ModelDetails, ModelSummary, OllamaConfig, OllamaModels};
use indicatif::DecimalBytes;

/// A finding for `embed doctor`.
pub(crate) struct ServerCheck {
    pub(crate) check: &'static str,
    pub(crate) result: Result<String, Error>,
}

pub(super) fn list(models: &[ModelSummary]) -> String {
    let mut page = String::new();
    let width = models.iter().map(|model| model.name.len()).max().unwrap_or(0);
    for model in models {
        let size = DecimalBytes(model.size).to_string();
        let digest = model.digest.get(..12).unwrap_or(&model.digest);
        // Writing to a string doesn't fail.
        let _ = writeln!(
            page,
            "{:<width$}  {digest:<12}  {size:>10}  {:<8} {:<8} {}",
            model.name, model.family, model.parameters, model.quantisation
        );
    }
    page
}

pub(super) fn show(name: &str, model: &ModelDetails) -> String {
    let mut page = String::new();
    let mut row = |what: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            let _ = writeln!(page, "{what:<12} {value}");
        }
    };
    row("model", Some(name.to_owned()));
    row("embeds", model.embeds.map(|embeds| if embeds { "yes" } else { "no" }.to_owned()));
    row("network", model.architecture.clone());
    row("width", model.width.map(|width| width.to_string()));
    row("context", model.context.map(|context| context.to_string()));
    row("num_ctx", model.num_ctx.map(|context| context.to_string()));
    row("parameters", Some(model.parameters.clone()));
    row("precision", Some(model.quantisation.clone()));
    page
}

/// Server, version and profile, model, and whether it is loaded. This doesn't load the model.
pub(crate) async fn report(config: &OllamaConfig) -> Vec<ServerCheck> {
    let mut reports = Vec::new();
    for server in &config.servers {
        let mut one = config.clone();
        one.servers = vec![server.clone()];
        one.request_timeout = one.connect_timeout;
        reports.extend(of_server(one).await);
    }
    reports
}

async fn of_server(config: OllamaConfig) -> Vec<ServerCheck> {
    let model = config.model.clone();
    let models = match OllamaModels::new(config) {
        Ok(models) => models,
        Err(error) => return vec![ServerCheck { check: "ollama", result: Err(error) }],
    };
    let version = models.version().await;
    let gone = version.is_err();
    let server =
        version.map(|(version, profile)| format!("{}, version {version}, profile {profile}", models.url()));
    let mut reports = vec![ServerCheck { check: "ollama", result: server }];
    if gone {
        return reports;
    }
    let details = async {
        let details = models.show(&model).await?;
        if details.embeds == Some(false) {
            let what = format!("{model} is not a model for embedding; set TMWS_OLLAMA_MODEL");
            return Err(Error::new(ErrorKind::Config, what));
        }
        let number = |value: Option<u64>| value.map_or("?".to_owned(), |value| value.to_string());
        Ok(format!("{model}, width {}, context {}", number(details.width), number(details.context)))
    };
    let details = details.await;
    let there = details.is_ok();
    reports.push(ServerCheck { check: "ollama model", result: details });
    if there {
        let loaded = models.loaded().await.map(|loaded| {
            let full = if model.contains(':') { model.clone() } else { format!("{model}:latest") };
            match loaded.iter().find(|entry| entry.name.eq_ignore_ascii_case(&full)) {
                Some(_) => "loaded".to_owned(),
                None => "not loaded; the first text loads it".to_owned(),
            }
        });
        reports.push(ServerCheck { check: "ollama load", result: loaded });
    }
    reports
}
