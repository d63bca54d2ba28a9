//! What is certified: a server as it answers, or a model in this process. Nothing is corrected on the way.

use std::fmt;
use std::time::Duration;

use embed_core::{EmbedRequest, Embedder, Error, ErrorKind, Role, Truncation};
use embed_encoder::assets::DataHome;
use embed_encoder::{Encoder, Profile};
use embed_remote::address::AddressForm;
use embed_remote::{Http, HttpSettings, Limit, Seen, Trouble, rows_limit, shown_url};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use super::args::CertifyArgs;
use crate::settings::Settings;

/// How long a connection and an answer may take; a server may have to load its model.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// What is certified.
pub(super) struct Target {
    service: Service,
    model: String,
    shown: String,
}

enum Service {
    Ollama(Http),
    /// The client, and what stands before a path.
    OpenAi(Http, &'static str),
    Local(Box<Encoder>),
}

/// Why texts have no vectors.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The service said so, with this status.
    Status(u16),
    /// Anything else, as a sentence.
    Other(String),
}

/// A row as it came: a number that JSON has no word for is `None`.
pub(super) type Vector = Vec<Option<f32>>;

#[derive(Serialize)]
struct Asked<'a> {
    model: &'a str,
    input: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
struct OllamaAnswer {
    embeddings: Vec<Vector>,
}

#[derive(Deserialize)]
struct OpenAiAnswer {
    data: Vec<OpenAiRow>,
}

#[derive(Deserialize)]
struct OpenAiRow {
    index: usize,
    embedding: Vector,
}

#[derive(Deserialize)]
struct OllamaModels {
    models: Vec<OllamaModel>,
}

#[derive(Deserialize)]
struct OllamaModel {
    name: String,
}

#[derive(Deserialize)]
struct OpenAiModels {
    data: Vec<OpenAiModel>,
}

#[derive(Deserialize)]
struct OpenAiModel {
    id: String,
}

impl Target {
    pub(super) async fn open(
        args: &CertifyArgs,
        home: &DataHome,
        settings: &Settings,
    ) -> Result<Self, Error> {
        if !args.target.contains(['/', ':', '.'])
            && let Ok(profile) = Profile::by_name(&args.target)
        {
            let config = settings.e5.clone().with_home(home.clone()).with_profile(profile);
            let shown = format!("{} ({}) in this process", profile.name, config.precision);
            let service = Service::Local(Box::new(Encoder::load(config).await?));
            return Ok(Self { service, model: profile.name.to_owned(), shown });
        }
        let http = client(args)?;
        let version = http.get::<serde_json::Value>("/api/version", Limit::SMALL).await;
        // The gateway of this project speaks both; its own API is the one that says more.
        let is_ollama = version.is_ok_and(|answer| answer.get("version").is_some());
        let service = if is_ollama {
            Service::Ollama(http)
        } else {
            // As OpenAI's own clients take addresses: with the version, if there is a path.
            let has_path = http.base().matches('/').count() > 2;
            Service::OpenAi(http, if has_path { "" } else { "/v1" })
        };
        let model = match &args.model {
            Some(model) => model.clone(),
            None => first_model(&service).await?,
        };
        let shown = format!("{model} at {}", shown_url(&args.target));
        Ok(Self { service, model, shown })
    }

    /// The model's name.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// Whether requests may ask for fewer dimensions.
    pub(super) fn has_dimensions(&self) -> bool {
        matches!(self.service, Service::OpenAi(..))
    }

    /// The vectors of texts, as they come.
    pub(super) async fn embed(
        &self,
        texts: &[&str],
        dimensions: Option<usize>,
    ) -> Result<Vec<Vector>, Refusal> {
        let asked = Asked { model: &self.model, input: texts, dimensions };
        let limit = rows_limit(texts.len(), None);
        let answer = async {
            match &self.service {
                Service::Ollama(http) => http
                    .post::<OllamaAnswer>("/api/embed", &asked, limit)
                    .await
                    .map(|answer| answer.embeddings),
                Service::OpenAi(http, version) => http
                    .post::<OpenAiAnswer>(&format!("{version}/embeddings"), &asked, limit)
                    .await
                    .map(|answer| in_order(answer.data)),
                Service::Local(encoder) => return local(encoder, texts).await,
            }
            .map_err(refusal)
        };
        let late = || Err(Refusal::Other("no answer came in time".to_owned()));
        let rows = tokio::time::timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| late())?;
        if rows.len() == texts.len() {
            return Ok(rows);
        }
        Err(Refusal::Other(format!("{} rows came for {} texts", rows.len(), texts.len())))
    }
}

fn client(args: &CertifyArgs) -> Result<Http, Error> {
    let form = AddressForm {
        field: "the target",
        port: 11434,
        example: "http://127.0.0.1:11434",
        suffix: "/api",
        lenient_port: false,
    };
    let url = form.read(&args.target)?;
    let mut headers = HeaderMap::new();
    if let Some(file) = &args.key_file {
        let unreadable =
            |what: &str| Error::new(ErrorKind::Config, what).with_context("file", file.display());
        let key = std::fs::read_to_string(file)
            .map_err(|error| unreadable("the file with the API key can't be read").with_source(error))?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", key.trim()))
            .map_err(|_| unreadable("the API key has a character that no key has"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Http::new(
        &url,
        &HttpSettings {
            user_agent: concat!("embed/", env!("CARGO_PKG_VERSION")),
            headers,
            basic_auth: true,
            connect_timeout: CONNECT_TIMEOUT,
            pool_size: 8,
        },
    )
}

async fn first_model(service: &Service) -> Result<String, Error> {
    let first = match service {
        Service::Ollama(http) => {
            let models = http.get::<OllamaModels>("/api/tags", Limit::LIST).await;
            models.map(|list| list.models.into_iter().map(|model| model.name).next())
        }
        Service::OpenAi(http, version) => {
            let models = http.get::<OpenAiModels>(&format!("{version}/models"), Limit::LIST).await;
            models.map(|list| list.data.into_iter().map(|model| model.id).find(|id| id != "auto"))
        }
        Service::Local(_) => Ok(None),
    };
    let unlisted = |why: String| {
        Error::new(ErrorKind::Unavailable, format!("the server lists no model, {why}; name one with --model"))
    };
    match first.map_err(refusal) {
        Ok(Some(model)) => Ok(model),
        Ok(None) => Err(unlisted("since it has none".to_owned())),
        Err(refusal) => Err(unlisted(refusal.to_string())),
    }
}

async fn local(encoder: &Encoder, texts: &[&str]) -> Result<Vec<Vector>, Refusal> {
    let request = EmbedRequest::new(texts.iter().copied(), Role::Document).with_truncation(Truncation::End);
    let response = encoder.embed(request).await.map_err(|error| Refusal::Other(error.to_string()))?;
    let row = |row: Result<embed_core::EmbeddingRef<'_>, &Error>| {
        row.map(|row| row.vector().iter().copied().map(Some).collect())
            .map_err(|error| Refusal::Other(error.to_string()))
    };
    response.rows().map(row).collect()
}

/// The rows where their index says; one whose index another row has comes at the end, so that it is in nobody's place.
fn in_order(mut rows: Vec<OpenAiRow>) -> Vec<Vector> {
    rows.sort_by_key(|row| row.index);
    rows.into_iter().map(|row| row.embedding).collect()
}

fn refusal(trouble: Trouble) -> Refusal {
    match trouble.seen {
        Seen::Answer { status, .. } if status >= 400 => Refusal::Status(status),
        Seen::Answer { .. } => Refusal::Other("the answer isn't that of this API".to_owned()),
        Seen::Connect | Seen::Name | Seen::Tls => Refusal::Other("the server can't be reached".to_owned()),
        _ => Refusal::Other("the answer broke off".to_owned()),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "the server answers with the status {status}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}
