//! The handshake with a server: the vectors that prove who it is, and how it goes about a text's length.

use std::sync::Arc;

use embed_core::{Error, ErrorKind, Role};
use embed_remote::{Blame, Counting, Facts, PROBES, Refusal, RowFault, Seen, Sending, add};

use crate::identity::Identity;
use crate::server::{Server, Told};
use crate::space::model_info;

/// What a handshake found out.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) identity: Identity,
    pub(crate) name: Option<String>,
}

/// How a server goes about a text's length.
#[derive(Debug, Clone, Copy)]
struct Length {
    limit: Option<usize>,
    specials: usize,
    refuses: bool,
}

/// Tokens by which a text that must be refused is longer than the model reads: more than any special ones.
const BEYOND: usize = 32;

impl Handshake {
    /// Embeds the probe set.
    pub(crate) async fn with(server: &Server) -> Result<Self, Refusal> {
        add(&server.endpoint.stats().identity_checks, 1);
        let _permit = server.endpoint.permits(1).await;
        let connects = server.endpoint.http().connects();
        let (probes, name) = match server.ask(Sending::of_client(&PROBES), None).await {
            Ok(told) => (vectors(server, told.reply.rows)?, told.name),
            // A server that takes few texts at once.
            Err(Refusal::Failed(failure)) if failure.blame == Blame::Size => {
                let (mut probes, mut name) = (Vec::with_capacity(PROBES.len()), None);
                for probe in PROBES {
                    let told = server.ask(Sending::of_client(&[probe]), None).await?;
                    probes.extend(vectors(server, told.reply.rows)?);
                    name = name.or(told.name);
                }
                (probes, name)
            }
            Err(refusal) => return Err(refusal),
        };
        // Of the connections that were made meanwhile, one was for the probes, if any was.
        let now = server.endpoint.http().connects();
        server.endpoint.set_verified(now.min(connects + 1));
        let identity = Identity::new(name.as_deref().unwrap_or(server.config.model.trim()), probes);
        let config = &server.config;
        let declared = config.dimensions.or(config.dimension).unwrap_or(identity.dimension());
        if identity.dimension() < declared
            || (config.dimensions.is_none() && identity.dimension() != declared)
        {
            return Err(Refusal::Unfit(
                Error::new(
                    ErrorKind::SpaceMismatch,
                    "the server's vectors have another width than the settings say; correct `dimension` or `dimensions`",
                )
                .with_context("server", server.endpoint.http().name())
                .with_context("expected", declared)
                .with_context("got", identity.dimension()),
            ));
        }
        Ok(Self { identity, name })
    }

    /// What a call needs to know of the server.
    pub(crate) async fn facts(&self, server: &Server, identity: &Identity) -> Result<Arc<Facts>, Refusal> {
        let length = match server.config.max_tokens {
            None => Length { limit: None, specials: 2, refuses: true },
            Some(limit) => length(server, limit).await?,
        };
        Ok(Arc::new(Facts {
            info: model_info(&server.config, identity.dimension(), identity.generation()),
            limit: length.limit,
            specials: length.specials,
            batches: true,
            refuses_long: length.refuses,
            counting: Counting::WithSpecials,
            // Where it refuses what is too long, batches of texts that may be are worth it.
            fits_alone: !length.refuses,
        }))
    }
}

fn vectors(server: &Server, rows: Vec<Result<Vec<f32>, RowFault>>) -> Result<Vec<Vec<f32>>, Refusal> {
    let rows: Result<_, _> = rows.into_iter().collect();
    rows.map_err(|fault| server.failure(Seen::Rows(fault).into()).into())
}

/// One token between the special ones and the prompt tells how many those are, and a text that is too long whether the
/// server refuses it. Where it cuts in silence, a text that has as many tokens as the cut one may have been cut, too.
async fn length(server: &Server, limit: usize) -> Result<Length, Refusal> {
    let _permit = server.endpoint.permits(1).await;
    let mut specials = 0;
    for role in [Role::Query, Role::Document] {
        let prompt = server.config.prompts.of(Some(role));
        let sending = Sending { role: Some(role), ..Sending::of_client(&["a"]) };
        let count = server.ask(sending, None).await?.reply.tokens.filter(|count| *count > 0);
        specials = specials.max(count.map_or(2 + prompt.len(), |count| count - 1));
    }
    let long = "a ".repeat(limit + BEYOND);
    let texts = [&*long];
    let sending = Sending { role: Some(Role::Document), ..Sending::of_client(&texts) };
    match server.ask(sending, None).await {
        Ok(Told { reply, .. }) => {
            let cut = reply.tokens.filter(|tokens| *tokens > 0 && *tokens < limit + BEYOND);
            let limit = cut.map_or(limit, |tokens| limit.min(tokens.saturating_sub(1)));
            Ok(Length { limit: Some(limit), specials, refuses: false })
        }
        Err(Refusal::Failed(failure)) if failure.blame == Blame::Server => Err(Refusal::Failed(failure)),
        Err(_) => Ok(Length { limit: Some(limit), specials, refuses: true }),
    }
}
