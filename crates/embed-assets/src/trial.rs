//! Tests whether a model works by embedding two texts.

use std::path::Path;

use embed_core::{EmbedRequest, Embedder, Error, ErrorKind, Role, Truncation};
use embed_encoder::assets::{DataHome, ModelFiles};
use embed_encoder::{Encoder, EncoderConfig, Precision, Profile};
use std::num::NonZeroUsize;
use tokio::runtime::Handle;

use crate::Progress;
use crate::graph::{self, DATA_SUFFIX};
use crate::progress::blocking;

const SENTENCE: &str = "The quick brown fox jumps over the lazy dog. 富士山の高さは3776メートルです。";

/// Loads a model of the data folder with the library that an embedder would find, and embeds a sentence and a text of
/// the maximum length.
///
/// If the future is dropped, the work still continues until it is done.
///
/// # Errors
///
/// What loading and embedding give; [`ErrorKind::Config`] if the model's parts don't belong together.
pub async fn try_model(
    home: &DataHome,
    profile: &'static Profile,
    precision: Precision,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let home = home.clone();
    blocking(progress, move |_| embed(&home, None, profile, precision)).await
}

/// As [`try_model`], for a model that isn't installed yet. Blocks; has to be called from a blocking thread of tokio.
pub(crate) fn before_install(
    made: &DataHome,
    library: Option<&Path>,
    profile: &'static Profile,
    precision: Precision,
) -> Result<(), Error> {
    embed(made, library, profile, precision).map_err(|error| {
        let what = format!(
            "the new {} ({precision}) can't embed a text, so it isn't put in place, and what was there stays",
            profile.name
        );
        Error::new(ErrorKind::Protocol, what).with_source(error)
    })
}

fn embed(
    home: &DataHome,
    library: Option<&Path>,
    profile: &'static Profile,
    precision: Precision,
) -> Result<(), Error> {
    check_parts(&ModelFiles::find(home, profile, precision)?)?;
    let mut config = EncoderConfig::default()
        .with_home(home.clone())
        .with_profile(profile)
        .with_precision(precision)
        .with_threads(NonZeroUsize::MIN);
    config.runtime_library = library.map(Path::to_owned);
    let e5 = Encoder::load_blocking(config)?;
    let long = "word ".repeat(profile.max_tokens);
    let request = EmbedRequest::new([SENTENCE, &long], Role::Query).with_truncation(Truncation::End);
    let response = Handle::current().block_on(e5.embed(request))?;
    // The width, the numbers and the norm of each row were checked when it was made.
    response.rows().try_for_each(|row| row.map(drop).map_err(Clone::clone))
}

/// In a variant the digest of the model file stands for all weights, so the data file must be the one that it was made
/// with.
fn check_parts(files: &ModelFiles) -> Result<(), Error> {
    let Some(noted) = graph::noted_data_sha256(&files.model)? else {
        return Ok(());
    };
    let data = files.model.file_name().map(|name| format!("{}{DATA_SUFFIX}", name.to_string_lossy()));
    let listed = data.and_then(|data| files.sealed().manifest().file(&data).map(|file| file.sha256.clone()));
    if listed.as_ref() == Some(&noted) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Config, "the weights beside the model are not those that it was made with")
        .with_context("expected SHA-256", noted)
        .with_context("got", listed.as_deref().unwrap_or("none")))
}
