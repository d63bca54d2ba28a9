//! The handshake with a server: its version, its model, and the vectors that prove who it is.

use std::sync::Arc;

use embed_core::{Error, ErrorKind, Pooling};
use embed_remote::{Body, Counting, Limit, PROBES, Refusal, Seen, Sending, Trouble, add};
use tokio::time::timeout;

use crate::config::{ModelOptions, OllamaConfig};
use crate::identity::{Identity, same_model};
use crate::profile::{Profile, Traits};
use crate::server::{Dialect, Server, ServerInfo};
use crate::version::Version;
use crate::wire::{ModelEntry, ShowAnswer, TagsAnswer, VersionAnswer};

/// How often version and digest are read again because a connection was made meanwhile.
const MOST_READS: usize = 3;

/// What a handshake found out.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) dialect: Dialect,
    pub(crate) identity: Identity,
    pub(crate) limit: Option<usize>,
    pub(crate) specials: usize,
}

impl Handshake {
    /// Embeds the probe set, and with it learns the dimension.
    pub(crate) async fn with(server: &Arc<Server>, info: ServerInfo) -> Result<Self, Refusal> {
        add(&server.endpoint.stats().identity_checks, 1);
        let version = Version::parse(&info.version).unwrap_or(Version::new(0, 0, 0));
        let traits = Traits::of(version);
        if traits.unknown {
            add(&server.counters.unknown_versions, 1);
        }
        let model = server.config.model.trim();
        let body = serde_json::json!({ "model": model });
        let show = server.http().post::<ShowAnswer>("/api/show", &body, Limit::LIST);
        let show = match timeout(server.config.connect_timeout.max(server.config.request_timeout), show).await
        {
            Ok(show) => show,
            Err(_) => Err(Seen::Silence.into()),
        };
        let show = show.map_err(|trouble| server.failure(trouble, traits.profile))?;
        if show.embeds() == Some(false) && !server.config.allow_chat_models {
            return Err(Refusal::Unfit(
                Error::new(
                    ErrorKind::Config,
                    format!("{model} is not a model for embedding; choose one such as all-minilm"),
                )
                .with_context("server", server.http().name())
                .with_context("field", "model"),
            ));
        }
        let (limit, options) = limit(&server.config, &traits, &show);
        let dialect = Dialect { traits, options };
        server.warm(&dialect).await?;
        let probes = probe(server, &dialect).await?;
        // From 0.10.0 on a server says which context the loaded model really has.
        let loaded = small::<TagsAnswer>(server, "/api/ps", Limit::LIST).await.ok().and_then(|running| {
            let mut models = running.models.unwrap_or_default().into_iter();
            models.find(|entry| same_model(&entry.name, model))?.context_length
        });
        let limit = match (limit, loaded) {
            (Some(limit), Some(loaded)) if loaded > 0 => Some(limit.min(loaded)),
            (limit, _) => limit,
        };
        let pooling = match show.number("pooling_type") {
            Some(1) => Pooling::Mean,
            Some(2) => Pooling::Cls,
            Some(3) => Pooling::LastToken,
            _ => Pooling::Unknown,
        };
        let identity = Identity::new(model, &info.digest, &info.version, pooling, probes);
        server.set_info(info);
        Ok(Self { identity, specials: specials(&show), limit, dialect })
    }

    /// The limit, if the server's counts allow to say how far a text is from it.
    pub(crate) fn countable_limit(&self) -> Option<usize> {
        self.limit.filter(|_| self.dialect.traits.counting != Counting::Unknown)
    }
}

/// Version and digest: cheap enough to ask after every reconnect. Remembers up to which connection
/// they were true.
pub(crate) async fn server_info(server: &Server) -> Result<ServerInfo, Refusal> {
    let mut tries = 0;
    loop {
        let (info, connects) = read_info(server).await?;
        tries += 1;
        // Between two questions the server may have become another one.
        if connects == server.http().connects() || tries == MOST_READS {
            server.endpoint.set_verified(connects);
            return Ok(info);
        }
    }
}

async fn read_info(server: &Server) -> Result<(ServerInfo, usize), Refusal> {
    let failure = |trouble| server.failure(trouble, Profile::J);
    let version: VersionAnswer = small(server, "/api/version", Limit::SMALL).await.map_err(failure)?;
    let connects = server.http().connects();
    let tags: TagsAnswer = small(server, "/api/tags", Limit::LIST).await.map_err(failure)?;
    let entry = tags.models.unwrap_or_default().into_iter();
    let entry =
        entry.filter(|entry| same_model(&entry.name, &server.config.model)).collect::<Vec<ModelEntry>>();
    let Some(entry) = entry.into_iter().next() else {
        let seen =
            Seen::Answer { status: 404, headers: Box::default(), body: Body(b"{}".to_vec()), after: None };
        return Err(failure(seen.into()).into());
    };
    let info = ServerInfo { version: version.version, digest: entry.digest };
    Ok((info, connects))
}

/// Each probe alone, one after the other: the answers of any version are right that way.
async fn probe(server: &Server, dialect: &Dialect) -> Result<Vec<Vec<f32>>, Refusal> {
    let _permit = server.permit(dialect, 1).await;
    let mut probes = Vec::with_capacity(PROBES.len());
    let mut dimension = None;
    for text in PROBES {
        let reply = server.ask(dialect, Sending::of_client(&[text]), dimension).await?;
        for row in reply.rows {
            let row =
                row.map_err(|fault| server.failure(Seen::Rows(fault).into(), dialect.traits.profile))?;
            dimension = Some(row.len());
            probes.push(row);
        }
    }
    Ok(probes)
}

/// Tokens that the model reads, and the options that make that true.
fn limit(config: &OllamaConfig, traits: &Traits, show: &ShowAnswer) -> (Option<usize>, ModelOptions) {
    let mut options = config.options.clone();
    let trained = show.number("context_length").and_then(|tokens| usize::try_from(tokens).ok());
    let set = options
        .num_ctx
        .map(|tokens| tokens as usize)
        .or_else(|| show.num_ctx())
        .unwrap_or(traits.default_context);
    let Some(trained) = trained else {
        return (None, options);
    };
    let limit = trained.min(set);
    if traits.overshoots && set > trained && options.num_ctx.is_none() {
        options.num_ctx = u32::try_from(trained).ok();
    }
    // A pooled text must fit into one batch: else it is cut in silence, split, or crashes the runner.
    if let Some(batch) = traits.default_batch
        && limit > batch
        && options.num_batch.is_none()
    {
        options.num_batch = u32::try_from(limit).ok();
    }
    let limit = options.num_batch.map_or(limit, |batch| limit.min(batch as usize));
    (Some(limit), options)
}

async fn small<T: serde::de::DeserializeOwned>(
    server: &Server,
    path: &str,
    limit: Limit,
) -> Result<T, Trouble> {
    match timeout(server.config.connect_timeout, server.http().get(path, limit)).await {
        Ok(answer) => answer,
        Err(_) => Err(Seen::Silence.into()),
    }
}

/// Special tokens that the tokenizer puts around a text. The BERT family has two; for others the file
/// says which; where it doesn't, two is the most that any has.
fn specials(show: &ShowAnswer) -> usize {
    let flag = |key| show.flag(key);
    match (flag("tokenizer.ggml.add_bos_token"), flag("tokenizer.ggml.add_eos_token")) {
        _ if show.architecture().is_some_and(|name| name.contains("bert")) => 2,
        (Some(first), Some(last)) => usize::from(first) + usize::from(last),
        _ => 2,
    }
}
