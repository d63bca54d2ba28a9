//! The models of the family: names, shapes and pinned revisions.

use std::fmt;
use std::str::FromStr;

use embed_core::{Error, ErrorKind, Normalisation, Pooling, PrefixScheme, Role, Space};

/// A model of the E5 family.
///
/// All of them read `query: ` or `passage: ` before the text, take the mean over the tokens and divide by
/// the norm.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// The name, as everywhere in this workspace: `multilingual-e5-small`.
    pub name: &'static str,
    /// The repository on the Hugging Face hub.
    pub repository: &'static str,
    /// The commit there that is used: a branch could move the vectors.
    pub revision: &'static str,
    /// Numbers in a vector.
    pub dimension: usize,
    /// Tokens that it reads at most, the two special ones and the prefix included.
    pub max_tokens: usize,
    /// Whether it reads other languages than English.
    pub multilingual: bool,
}

/// Revisions are those that the MTEB leaderboard pins, and for multilingual-e5-small the first that has
/// ONNX files beside the same weights.
static PROFILES: [Profile; 6] = [
    profile("multilingual-e5-small", "614241f622f53c4eeff9890bdc4f31cfecc418b3", 384, true),
    profile("multilingual-e5-base", "d13f1b27baf31030b7fd040960d60d909913633f", 768, true),
    profile("multilingual-e5-large", "ab10c1a7f42e74530fe7ae5be82e6d4f11a719eb", 1024, true),
    profile("e5-small-v2", "dca8b1a9dae0d4575df2bf423a5edb485a431236", 384, false),
    profile("e5-base-v2", "1c644c92ad3ba1efdad3f1451a637716616a20e8", 768, false),
    profile("e5-large-v2", "b322e09026e4ea05f42beadf4d661fb4e101d311", 1024, false),
];

const fn profile(
    name: &'static str,
    revision: &'static str,
    dimension: usize,
    multilingual: bool,
) -> Profile {
    // The repositories are called as the models; `concat!` doesn't take a parameter.
    let repository = match name.as_bytes() {
        b"multilingual-e5-small" => "intfloat/multilingual-e5-small",
        b"multilingual-e5-base" => "intfloat/multilingual-e5-base",
        b"multilingual-e5-large" => "intfloat/multilingual-e5-large",
        b"e5-small-v2" => "intfloat/e5-small-v2",
        b"e5-base-v2" => "intfloat/e5-base-v2",
        _ => "intfloat/e5-large-v2",
    };
    Profile { name, repository, revision, dimension, max_tokens: 512, multilingual }
}

/// In which arithmetic the model runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// Eight-bit matrix products: the fastest. Cosine to [`F32`](Self::F32) of 0.999 or more on written text, 0.9995 on
    /// average. Models that were not calibrated, all but multilingual-e5-small, stay farther away and aren't measured.
    #[default]
    Int8,
    /// 32-bit floating point: reference grade.
    F32,
    /// As [`F32`](Self::F32), but with eight-bit products where they cost least accuracy: cosine to it of 0.9999
    /// or more on written text at 1.14 times its speed. The same as `F32` for models that were not calibrated, all but
    /// multilingual-e5-small.
    Mixed,
    /// Matrix products of bfloat16 numbers, summed in 32 bits: reference grade at 1.5 times the speed of
    /// [`F32`](Self::F32) where the processor has such products (AVX512-BF16, AMX). ONNX Runtime must be a
    /// build with the OpenVINO execution provider.
    #[cfg(feature = "openvino")]
    Bf16,
}

impl Profile {
    /// Every known model.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &PROFILES
    }

    /// The model of a name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`]; the message lists the names.
    pub fn by_name(name: &str) -> Result<&'static Self, Error> {
        PROFILES.iter().find(|profile| profile.name == name).ok_or_else(|| {
            let known: Vec<_> = PROFILES.iter().map(|profile| profile.name).collect();
            Error::new(
                ErrorKind::ModelNotFound,
                format!("{name:?} is no model of the E5 family; known are {}", known.join(", ")),
            )
        })
    }

    /// The space of its vectors, which is the same in every precision.
    #[must_use]
    pub fn space(&self) -> Space {
        Space::builder(self.name, self.dimension)
            .pooling(Pooling::Mean)
            .prefixes(PrefixScheme::QueryPassage)
            .normalisation(Normalisation::L2)
            .build()
    }
}

/// What the family wants in front of a text of this role, from the model card: "Each input text should
/// start with "query: " or "passage: ", even for non-English texts."
#[must_use]
pub fn prefix(role: Role) -> &'static str {
    match role {
        Role::Query => "query: ",
        Role::Document => "passage: ",
    }
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Int8,
        Self::F32,
        Self::Mixed,
        #[cfg(feature = "openvino")]
        Self::Bf16,
    ];
    const COUNT: usize = 3 + cfg!(feature = "openvino") as usize;

    /// The name: `int8`, `f32`, `mixed`, `bf16`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::F32 => "f32",
            Self::Mixed => "mixed",
            #[cfg(feature = "openvino")]
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|precision| precision.as_str() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str);
            Error::new(ErrorKind::Config, format!("a precision is one of {}", known.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_names_its_repository_and_a_whole_commit() {
        for profile in Profile::all() {
            assert_eq!(profile.repository, format!("intfloat/{}", profile.name));
            assert!(profile.revision.len() == 40, "{}", profile.name);
            assert!(profile.revision.bytes().all(|b| b.is_ascii_hexdigit()));
            assert_eq!(Profile::by_name(profile.name).unwrap(), profile);
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Profile::by_name("e5-huge").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ModelNotFound);
        assert!(error.to_string().contains("multilingual-e5-small"));
    }
}
