//! The document that settings amount to.

use embed_core::Error;
use embed_encoder::assets::DataHome;

use super::build::declared_document;
use super::document::Document;
use super::preset::preset;
use super::values::Settings;

/// The models and the routes to them: those that the file declares, or those of the service.
///
/// # Errors
///
/// None for settings that were checked when they were read.
pub fn document(settings: &Settings, home: &DataHome) -> Result<Document, Error> {
    if settings.is_preset() {
        return Ok(preset(settings, home));
    }
    let document = declared_document(&settings.declared, settings)
        .map_err(|(at, error)| Error::new(error.kind(), format!("{at}: model: {error}")))?;
    Ok(match &settings.only {
        Some(name) => document.only(name),
        None => document,
    })
}
