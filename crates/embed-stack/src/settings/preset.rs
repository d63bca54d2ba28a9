//! The documents that a service amounts to.

use embed_core::Error;
use embed_encoder::Profile;
use embed_encoder::assets::{DataHome, ModelFiles};
use embed_router::{ENGLISH_ROUTE, MULTILINGUAL_ROUTE};

use super::choices::{LOCAL_ENGLISH_ROUTE, ServiceChoice};
use super::document::{BackendSpec, Document, EncoderSource, EncoderSpec, ModelSpec, REST};
use super::values::Settings;

/// The document of a service. In the hybrid service, English is read by Ollama where a setting names it; the model in this
/// process stands in for it if its files are there, which needs no setting. Elsewhere the model in this process reads it.
pub(super) fn preset(settings: &Settings, home: &DataHome) -> Document {
    let e5 = || encoder(settings, MULTILINGUAL_ROUTE, settings.e5.profile);
    let ollama = || ModelSpec {
        name: ENGLISH_ROUTE.to_owned(),
        offered_as: Some(settings.ollama.model.clone()),
        languages: Some(vec!["en".to_owned()]),
        fallback: None,
        fallback_of_a_command: None,
        backend: BackendSpec::Ollama(Box::new(settings.ollama.clone())),
    };
    let english = settings.router.english;
    let (models, of_english) = match settings.service {
        ServiceChoice::E5 => (vec![e5()], None),
        ServiceChoice::Ollama => (vec![ollama()], None),
        ServiceChoice::Hybrid => match english {
            Some(profile) if !settings.names_ollama() => {
                (vec![encoder(settings, LOCAL_ENGLISH_ROUTE, profile), e5()], Some(LOCAL_ENGLISH_ROUTE))
            }
            Some(profile)
                if is_same_model(profile, settings) && is_there(profile, settings, home).is_ok() =>
            {
                let server = ModelSpec { fallback: Some(LOCAL_ENGLISH_ROUTE.to_owned()), ..ollama() };
                let local = encoder(settings, LOCAL_ENGLISH_ROUTE, profile);
                (vec![server, ModelSpec { offered_as: None, ..local }, e5()], Some(ENGLISH_ROUTE))
            }
            _ => {
                let fallback_of_a_command = Some(MULTILINGUAL_ROUTE.to_owned());
                (vec![ModelSpec { fallback_of_a_command, ..ollama() }, e5()], Some(ENGLISH_ROUTE))
            }
        },
    };
    let rest = models.last().map(|model| (REST.to_owned(), model.name.clone()));
    let of_english = of_english.map(|route| ("en".to_owned(), route.to_owned()));
    Document { routes: rest.into_iter().chain(of_english).collect(), models }
}

fn encoder(settings: &Settings, name: &str, profile: &'static Profile) -> ModelSpec {
    ModelSpec {
        name: name.to_owned(),
        offered_as: Some(profile.name.to_owned()),
        // E5 takes everything in its service, whatever its model was trained with.
        languages: (name == LOCAL_ENGLISH_ROUTE).then(|| vec!["en".to_owned()]),
        fallback: None,
        fallback_of_a_command: None,
        backend: BackendSpec::Encoder(EncoderSpec {
            source: EncoderSource::Known(profile),
            precision: settings.e5.precision,
            keep_alive: None,
        }),
    }
}

/// Whether the model of the server is this one, as far as its name says.
fn is_same_model(profile: &Profile, settings: &Settings) -> bool {
    let name = settings.ollama.model.split(':').next().unwrap_or_default();
    profile.space().model().eq_ignore_ascii_case(name)
}

fn is_there(profile: &'static Profile, settings: &Settings, home: &DataHome) -> Result<(), Error> {
    ModelFiles::find(home, profile, settings.e5.precision).map(drop)
}
