//! The models of a server: list them, describe one, fetch one.

use std::sync::Arc;

use embed_core::{Error, ErrorKind, Result};
use embed_remote::{Http, Limit, Seen, Trouble};
use reqwest::Response;
use tokio::time::timeout;

use crate::config::OllamaConfig;
use crate::failure::failure;
use crate::profile::Profile;
use crate::version::Version;
use crate::wire::{PullLine, ShowAnswer, TagsAnswer, VersionAnswer};

/// The models of one server: the first of the settings.
#[derive(Debug, Clone)]
pub struct OllamaModels {
    http: Arc<Http>,
    config: Arc<OllamaConfig>,
}

/// A model in the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelSummary {
    /// Its name, with the tag.
    pub name: String,
    /// Bytes on the server's disk.
    pub size: u64,
    /// SHA-256 of its manifest, without a prefix.
    pub digest: String,
    /// When it was pulled or made, as the server writes it.
    pub modified_at: Option<String>,
    /// The kind of network.
    pub family: String,
    /// Number of weights, as the server writes it: `22.7M`.
    pub parameters: String,
    /// Precision of the weights.
    pub quantisation: String,
}

/// A model described.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelDetails {
    /// The kind of network.
    pub architecture: Option<String>,
    /// Whether it is for embedding, if the server says.
    pub embeds: Option<bool>,
    /// Width of the network, which is that of its vectors unless it projects them; a probe tells.
    pub width: Option<u64>,
    /// Tokens that it was trained to read.
    pub context: Option<u64>,
    /// The context that its author set.
    pub num_ctx: Option<usize>,
    /// Number of weights, as the server writes it.
    pub parameters: String,
    /// Number of weights.
    pub parameter_count: Option<u64>,
    /// Precision of the weights.
    pub quantisation: String,
}

/// A pull that goes on. Dropping it disconnects; the next pull of the model resumes where this one was.
#[derive(Debug)]
pub struct Pull {
    response: Response,
    line: Vec<u8>,
    model: String,
    succeeded: bool,
    ended: bool,
}

/// A step of a pull.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PullProgress {
    /// What is done, in the server's words: `pulling manifest`, `verifying sha256 digest`, `success`.
    pub status: String,
    /// The file that is fetched.
    pub digest: Option<String>,
    /// Its bytes.
    pub total: Option<u64>,
    /// How many of them are there.
    pub completed: Option<u64>,
}

/// A line of a pull is a hundred bytes; more than this is not Ollama.
const LONGEST_LINE: usize = 1 << 20;

impl OllamaModels {
    /// The models of the first server of the settings. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a setting, which it names.
    pub fn new(config: OllamaConfig) -> Result<Self> {
        let checked = config.check()?;
        // The check leaves no empty list.
        let url = checked.servers.first().ok_or_else(|| {
            Error::new(ErrorKind::Config, "servers is empty; name a server such as http://127.0.0.1:11434")
        })?;
        let http = Http::new(url, &config.http_settings(&checked))?;
        Ok(Self { http: Arc::new(http), config: Arc::new(config) })
    }

    /// The server's base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.http.base()
    }

    /// The server's version, as it says it, and how a server of that version behaves.
    ///
    /// # Errors
    ///
    /// As in `docs/ollama-failures.md`. Dropping the future ends the request.
    pub async fn version(&self) -> Result<(String, Profile)> {
        let answer: VersionAnswer = self.small("server", self.http.get("/api/version", Limit::SMALL)).await?;
        let version = Version::parse(&answer.version).unwrap_or(Version::new(0, 0, 0));
        Ok((answer.version, Profile::of(version)))
    }

    /// The models that the server has.
    ///
    /// # Errors
    ///
    /// As in `docs/ollama-failures.md`. Dropping the future ends the request.
    pub async fn list(&self) -> Result<Vec<ModelSummary>> {
        self.entries("/api/tags").await
    }

    /// The models that the server has loaded now, or is loading.
    ///
    /// # Errors
    ///
    /// As in `docs/ollama-failures.md`. Dropping the future ends the request.
    pub async fn loaded(&self) -> Result<Vec<ModelSummary>> {
        self.entries("/api/ps").await
    }

    async fn entries(&self, path: &str) -> Result<Vec<ModelSummary>> {
        let answer: TagsAnswer = self.small("model", self.http.get(path, Limit::LIST)).await?;
        let models = answer.models.unwrap_or_default().into_iter();
        Ok(models
            .map(|entry| ModelSummary {
                name: entry.name,
                size: entry.size,
                digest: entry.digest,
                modified_at: entry.modified_at,
                family: entry.details.family,
                parameters: entry.details.parameter_size,
                quantisation: entry.details.quantization_level,
            })
            .collect())
    }

    /// Describes a model.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`], with the command that fetches it, and as in
    /// `docs/ollama-failures.md`. Dropping the future ends the request.
    pub async fn show(&self, model: &str) -> Result<ModelDetails> {
        let body = serde_json::json!({ "model": model });
        let show: ShowAnswer = self.small(model, self.http.post("/api/show", &body, Limit::LIST)).await?;
        Ok(ModelDetails {
            architecture: show.architecture().map(str::to_owned),
            embeds: show.embeds(),
            width: show.number("embedding_length"),
            context: show.number("context_length"),
            num_ctx: show.num_ctx(),
            parameter_count: show.count(),
            parameters: show.details.parameter_size,
            quantisation: show.details.quantization_level,
        })
    }

    /// Begins to fetch a model, or to bring it up to date.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a name that is none, and as in `docs/ollama-failures.md`. Most failures
    /// come as a step of the [`Pull`].
    ///
    /// # Cancellation
    ///
    /// Dropping the future disconnects; what was fetched stays for the next pull.
    pub async fn pull(&self, model: &str) -> Result<Pull> {
        if model.trim().is_empty() {
            return Err(Error::new(ErrorKind::Config, "the name of the model is empty"));
        }
        let body = serde_json::json!({ "model": model.trim(), "stream": true });
        let response = self.within(model, self.http.open("/api/pull", &body)).await?;
        Ok(Pull {
            response,
            line: Vec::new(),
            model: model.trim().to_owned(),
            succeeded: false,
            ended: false,
        })
    }

    async fn small<T>(&self, model: &str, answer: impl Future<Output = Result<T, Trouble>>) -> Result<T> {
        self.within(model, answer).await
    }

    async fn within<T>(&self, model: &str, answer: impl Future<Output = Result<T, Trouble>>) -> Result<T> {
        let answer = match timeout(self.config.request_timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Seen::Silence.into()),
        };
        answer.map_err(|Trouble { seen, source }| {
            let mut error = failure(&seen, Profile::J, model).error;
            error = error.with_context("server", self.http.name());
            source.map_or(error.clone(), |source| error.with_source(source))
        })
    }
}

impl Pull {
    /// The next step; `None` after the last one, when the model is there.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`] if there is no such model, [`ErrorKind::Unavailable`] if the server
    /// can't fetch it now, or the connection ends before the model is there: another pull resumes.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses nothing: the next call goes on.
    pub async fn next(&mut self) -> Option<Result<PullProgress>> {
        loop {
            if self.ended {
                return None;
            }
            if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.line.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let step = self.step(&line);
                self.ended = step.is_err();
                return Some(step);
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) if self.line.len() + chunk.len() <= LONGEST_LINE => {
                    self.line.extend_from_slice(&chunk);
                }
                Ok(None) if !self.line.trim_ascii().is_empty() => self.line.push(b'\n'),
                Ok(None) => {
                    self.ended = true;
                    return (!self.succeeded).then(|| Err(cut_off(&self.model)));
                }
                Ok(Some(_)) => {
                    self.ended = true;
                    let what = "what answers the pull is not Ollama";
                    return Some(Err(Error::new(ErrorKind::Protocol, what)));
                }
                Err(error) => {
                    self.ended = true;
                    let error = cut_off(&self.model).with_source(error.without_url());
                    return Some(Err(error));
                }
            }
        }
    }

    fn step(&mut self, line: &[u8]) -> Result<PullProgress> {
        let line: PullLine = serde_json::from_slice(line)
            .map_err(|_| Error::new(ErrorKind::Protocol, "what answers the pull is not Ollama"))?;
        if let Some(error) = line.error {
            return Err(pull_error(&self.model, error.as_str().unwrap_or_default()));
        }
        let status = line.status.as_str().unwrap_or_default().to_owned();
        self.succeeded |= status == "success";
        Ok(PullProgress { status, digest: line.digest, total: line.total, completed: line.completed })
    }
}

fn cut_off(model: &str) -> Error {
    let what = format!("the pull ended before {model} was there; pull it again, which resumes");
    Error::new(ErrorKind::Unavailable, what).temporary()
}

fn pull_error(model: &str, text: &str) -> Error {
    let has = |part: &str| text.contains(part);
    if has("file does not exist") || has("not found") {
        let what = format!("there is no model {model} to pull; check the name at ollama.com/library");
        Error::new(ErrorKind::ModelNotFound, what)
    } else if has("invalid model name") || has("unqualified name") {
        Error::new(ErrorKind::Config, format!("{model} is no name of a model"))
    } else if has("401") || has("unauthorized") {
        let what = format!("the registry refuses {model} to the server; sign the server in");
        Error::new(ErrorKind::Unauthorized, what)
    } else {
        let what = format!("the server can't fetch {model} now; check its network and disk, and pull again");
        // Of a pull the server's words hold no text of a user.
        Error::new(ErrorKind::Unavailable, what)
            .with_context("server says", text.chars().take(200).collect::<String>())
            .temporary()
    }
}
