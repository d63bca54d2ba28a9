//! `profile.json`: what a model is, beside its files, so that no table has to know it.

use embed_core::{Error, ErrorKind, Normalisation, Pooling};
use serde::{Deserialize, Serialize};

use crate::profile::{Profile, Prompts, Shape, interned_text};

/// The file name of the profile.
pub const PROFILE_FILE: &str = "profile.json";

/// The version of the file's format that this crate reads and writes.
pub const PROFILE_FORMAT: u32 = 1;

/// A [`Profile`] as its file holds it. The fields are those of the profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each field is documented where the profile has it")]
pub struct ProfileFile {
    /// [`PROFILE_FORMAT`].
    pub format: u32,
    pub name: String,
    pub family: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub space_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub repository: String,
    pub revision: String,
    pub dimension: usize,
    pub max_tokens: usize,
    #[serde(with = "pooling")]
    pub pooling: Pooling,
    #[serde(with = "normalisation")]
    pub normalisation: Normalisation,
    pub query_prompt: String,
    pub document_prompt: String,
    pub multilingual: bool,
    pub parameters: u64,
    pub shape: Shape,
    pub calibrated: bool,
}

impl ProfileFile {
    /// The file of a profile.
    #[must_use]
    pub fn of(profile: &Profile) -> Self {
        Self {
            format: PROFILE_FORMAT,
            name: profile.name.to_owned(),
            family: profile.family.to_owned(),
            space_name: profile.space_name.to_owned(),
            repository: profile.repository.to_owned(),
            revision: profile.revision.to_owned(),
            dimension: profile.dimension,
            max_tokens: profile.max_tokens,
            pooling: profile.pooling,
            normalisation: profile.normalisation,
            query_prompt: profile.prompts.query.to_owned(),
            document_prompt: profile.prompts.document.to_owned(),
            multilingual: profile.multilingual,
            parameters: profile.parameters,
            shape: profile.shape,
            calibrated: profile.calibrated,
        }
    }

    /// The profile, [interned](Profile::interned).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if no embedder could keep its promises with such a model.
    pub fn profile(&self) -> Result<&'static Profile, Error> {
        let prompts = Prompts {
            query: interned_text(&self.query_prompt),
            document: interned_text(&self.document_prompt),
        };
        let profile = Profile {
            family: interned_text(&self.family),
            name: interned_text(&self.name),
            space_name: interned_text(&self.space_name),
            repository: interned_text(&self.repository),
            revision: interned_text(&self.revision),
            dimension: self.dimension,
            max_tokens: self.max_tokens,
            pooling: self.pooling,
            normalisation: self.normalisation,
            prompts,
            multilingual: self.multilingual,
            parameters: self.parameters,
            shape: self.shape,
            calibrated: self.calibrated,
        };
        profile.check()?;
        Ok(profile.interned())
    }

    /// Reads the file's text.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if it is damaged or of another version of this program.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged =
            |error| Error::new(ErrorKind::Config, "the model's profile is damaged").with_source(error);
        let Format { format } = serde_json::from_slice(json).map_err(damaged)?;
        if format != PROFILE_FORMAT {
            let what = "the model's profile is of another version of this program";
            return Err(Error::new(ErrorKind::Config, what));
        }
        serde_json::from_slice(json).map_err(damaged)
    }

    /// The file's text.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] if it can't be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "a profile can't be written").with_source(error)
        })?;
        text.push(b'\n');
        Ok(text)
    }
}

/// A pooling as `mean` or `cls`.
mod pooling {
    use embed_core::Pooling;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer, ser};

    pub(super) fn serialize<S: Serializer>(pooling: &Pooling, serializer: S) -> Result<S::Ok, S::Error> {
        match pooling {
            Pooling::Mean => serializer.serialize_str("mean"),
            Pooling::Cls => serializer.serialize_str("cls"),
            _ => Err(ser::Error::custom("no graph has this pooling")),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pooling, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "mean" => Ok(Pooling::Mean),
            "cls" => Ok(Pooling::Cls),
            _ => Err(D::Error::custom("a pooling is mean or cls")),
        }
    }
}

/// A normalisation as `l2` or `none`.
mod normalisation {
    use embed_core::Normalisation;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(of: &Normalisation, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if *of == Normalisation::L2 { "l2" } else { "none" })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Normalisation, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "l2" => Ok(Normalisation::L2),
            "none" => Ok(Normalisation::None),
            _ => Err(D::Error::custom("a normalisation is l2 or none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_comes_back_from_its_file_as_itself() {
        for profile in Profile::all() {
            let json = ProfileFile::of(profile).to_json().unwrap();
            let read = ProfileFile::parse(&json).unwrap().profile().unwrap();
            assert!(std::ptr::eq(read, profile), "{}", profile.name);
        }
    }

    #[test]
    fn a_profile_of_another_version_or_of_no_encoder_is_refused() {
        let file = ProfileFile::of(&Profile::all()[0]);
        let newer = ProfileFile { format: PROFILE_FORMAT + 1, ..file.clone() };
        let error = ProfileFile::parse(&newer.to_json().unwrap()).unwrap_err();
        assert!(error.to_string().contains("another version"), "{error}");
        let error = ProfileFile::parse(b"{\"format\": 1}").unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
        let long = ProfileFile { max_tokens: 513, ..file.clone() };
        assert_eq!(long.profile().unwrap_err().kind(), ErrorKind::Config);
        let glued = ProfileFile { query_prompt: "query:".to_owned(), ..file };
        assert!(glued.profile().unwrap_err().to_string().contains("must end with a space"));
    }

    #[test]
    fn the_same_profile_twice_is_the_same_reference() {
        let file = ProfileFile { name: "interned".to_owned(), ..ProfileFile::of(&Profile::all()[0]) };
        let first = file.profile().unwrap();
        assert!(std::ptr::eq(first, file.clone().profile().unwrap()));
        assert!(std::ptr::eq(first, first.clone().interned()));
        let other = ProfileFile { max_tokens: 100, ..file }.profile().unwrap();
        assert!(!std::ptr::eq(first, other));
    }
}
