//! English in the hybrid service: by Ollama, by a model in this process, or by both.

use embed_core::{EmbedRequest, Embedder, Error, ErrorKind, Role};
use embed_encoder::assets::{DataHome, ModelFiles};
use embed_encoder::{Encoder, EncoderConfig, Profile};

use crate::settings::{ServiceChoice, Settings};

/// What reads English.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum English {
    /// A server of Ollama.
    Ollama,
    /// A server of Ollama, and while that is unavailable, a model in this process with the same vectors.
    Both(&'static Profile),
    /// A model in this process.
    Local(&'static Profile),
}

/// The least cosine between the vectors of two services with the same weights. Eight-bit weights stay above it; four-bit
/// weights, and any other model, don't.
const SAME_SPACE: f32 = 0.99;

/// Texts that two services of one model must agree on: of several lengths, with figures and signs.
const PROBES: [&str; 4] = [
    "A cat sits on the mat.",
    "How do I optimise a database query that joins three tables?",
    "The committee adopted the resolution by 12 votes to 3, with 2 abstentions, on 14 May 1998.",
    "error: could not open file /etc/hosts (permission denied)",
];

impl English {
    /// What the settings and the data folder amount to. A fallback needs no setting, only its files.
    pub(crate) fn of(settings: &Settings, home: &DataHome) -> Self {
        match settings.router.english {
            _ if settings.service != ServiceChoice::Hybrid => Self::Ollama,
            Some(profile) if !settings.names_ollama() => Self::Local(profile),
            Some(profile) if is_same_model(profile, settings) && is_there(profile, settings, home) => {
                Self::Both(profile)
            }
            _ => Self::Ollama,
        }
    }

    /// The model in this process.
    pub(crate) fn local(self) -> Option<&'static Profile> {
        match self {
            Self::Ollama => None,
            Self::Both(profile) | Self::Local(profile) => Some(profile),
        }
    }
}

/// Whether the model of the server is this one, as far as its name says.
fn is_same_model(profile: &Profile, settings: &Settings) -> bool {
    let name = settings.ollama.model.split(':').next().unwrap_or_default();
    profile.space().model().eq_ignore_ascii_case(name)
}

fn is_there(profile: &Profile, settings: &Settings, home: &DataHome) -> bool {
    ModelFiles::find(home, profile, settings.e5.precision).is_ok()
}

/// Loads the model in this process, in the precision and with the threads of the other one.
pub(crate) async fn load(
    profile: &'static Profile,
    settings: &Settings,
    home: DataHome,
) -> Result<Encoder, Error> {
    let config: EncoderConfig = settings.e5.clone().with_home(home).with_profile(profile);
    Encoder::load(config).await.map_err(|error| match error.kind() {
        ErrorKind::ModelNotFound => error.with_context(
            "needed",
            "English is read by a model in this process, since no setting names an Ollama server",
        ),
        _ => error,
    })
}

/// Checks that a server gives the vectors of the model in this process, so that one can take over from the other.
pub(crate) async fn check_same_space(server: &dyn Embedder, local: &Encoder) -> Result<(), Error> {
    let request = || EmbedRequest::new(PROBES, Role::Document);
    let (theirs, ours) = (server.embed(request()).await?, local.embed(request()).await?);
    for (theirs, ours) in theirs.rows().zip(ours.rows()) {
        let (theirs, ours) = (theirs.map_err(Clone::clone)?, ours.map_err(Clone::clone)?);
        let cosine = theirs.similarity(ours)?;
        if cosine < SAME_SPACE {
            let what = format!(
                "the server's {} gives other vectors than {} in this process, so that they can't stand in for each other; \
                 set router.english_model to none",
                server.model().name(),
                local.model().name()
            );
            return Err(Error::new(ErrorKind::Config, what).with_context("cosine", format!("{cosine:.3}")));
        }
    }
    Ok(())
}
