//! The models of the family: names, shapes and pinned revisions.

use std::fmt;
use std::str::FromStr;

use embed_core::{Error, ErrorKind, Normalisation, Pooling, PrefixScheme, Role, Space};

/// A model of the E5 family.
///
/// All of them expect `query: ` or `passage: ` before the text, take the mean over the tokens and divide by the norm.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// The name in this workspace: `multilingual-e5-small`.
    pub name: &'static str,
    /// The repository on the Hugging Face hub.
    pub repository: &'static str,
    /// The commit that is used, since a branch could change the vectors.
    pub revision: &'static str,
    /// Numbers in a vector.
    pub dimension: usize,
    /// The most tokens that it reads, including the two special ones and the prefix.
    pub max_tokens: usize,
    /// Whether it reads other languages than English.
    pub multilingual: bool,
    /// The number of its weights.
    pub parameters: u64,
    /// How large its parts are.
    pub shape: Shape,
    /// Whether its activations were measured, so that int8 keeps outlier channels and its distance from f32 is known.
    /// Without that, int8 works, but its accuracy is unknown.
    pub calibrated: bool,
}

/// The sizes of the parts of a model, which distinguish it from other models of the same width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shape {
    /// Layers.
    pub layers: usize,
    /// Attention heads of a layer.
    pub heads: usize,
    /// Width inside the feed-forward part of a layer.
    pub feed_forward: usize,
    /// Rows of the word table.
    pub vocabulary: usize,
    /// Positions that tokens may have: at least as many as the model reads tokens.
    pub positions: usize,
}

/// Revisions are those that the MTEB leaderboard pins, and for multilingual-e5-small the first that has
/// ONNX files beside the same weights.
static PROFILES: [Profile; 6] = [
    Profile {
        name: "multilingual-e5-small",
        repository: "intfloat/multilingual-e5-small",
        revision: "614241f622f53c4eeff9890bdc4f31cfecc418b3",
        parameters: 117_653_760,
        multilingual: true,
        shape: Shape { vocabulary: 250_037, ..SMALL },
        calibrated: true,
        ..profile(384)
    },
    Profile {
        name: "multilingual-e5-base",
        repository: "intfloat/multilingual-e5-base",
        revision: "d13f1b27baf31030b7fd040960d60d909913633f",
        parameters: 278_043_648,
        multilingual: true,
        shape: Shape { vocabulary: 250_002, ..BASE },
        ..profile(768)
    },
    Profile {
        name: "multilingual-e5-large",
        repository: "intfloat/multilingual-e5-large",
        revision: "ab10c1a7f42e74530fe7ae5be82e6d4f11a719eb",
        parameters: 559_890_432,
        multilingual: true,
        shape: Shape { vocabulary: 250_002, ..LARGE },
        ..profile(1024)
    },
    Profile {
        name: "e5-small-v2",
        repository: "intfloat/e5-small-v2",
        revision: "dca8b1a9dae0d4575df2bf423a5edb485a431236",
        parameters: 33_360_000,
        shape: SMALL,
        ..profile(384)
    },
    Profile {
        name: "e5-base-v2",
        repository: "intfloat/e5-base-v2",
        revision: "1c644c92ad3ba1efdad3f1451a637716616a20e8",
        parameters: 109_482_240,
        shape: BASE,
        ..profile(768)
    },
    Profile {
        name: "e5-large-v2",
        repository: "intfloat/e5-large-v2",
        revision: "b322e09026e4ea05f42beadf4d661fb4e101d311",
        parameters: 335_141_888,
        shape: LARGE,
        ..profile(1024)
    },
];

/// The shapes of BERT in three sizes, with its English vocabulary.
const SMALL: Shape = Shape::new(12, 12, 1536);
const BASE: Shape = Shape::new(12, 12, 3072);
const LARGE: Shape = Shape::new(24, 16, 4096);

/// What most profiles have in common.
const fn profile(dimension: usize) -> Profile {
    Profile {
        name: "",
        repository: "",
        revision: "",
        dimension,
        max_tokens: 512,
        multilingual: false,
        parameters: 0,
        shape: SMALL,
        calibrated: false,
    }
}

/// The arithmetic that a model runs in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// Eight-bit matrix products: the fastest. Cosine to [`F32`](Self::F32) of 0.999 or more on written text, 0.9995 on
    /// average. Models that were not [calibrated](Profile::calibrated) are less accurate by an unknown amount, and their
    /// variants say so.
    #[default]
    Int8,
    /// 32-bit floating point: reference grade.
    F32,
    /// As [`F32`](Self::F32), but with eight-bit products where they cost least accuracy: cosine to it of 0.9999
    /// or more on written text at 1.14 times its speed. For models that were not calibrated (all but multilingual-e5-small)
    /// it is the same as `F32`.
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

    /// The model with this name or repository on the hub; case doesn't matter.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`]; the message lists the names.
    pub fn by_name(name: &str) -> Result<&'static Self, Error> {
        let is_called = |profile: &&Self| {
            [profile.name, profile.repository].iter().any(|known| known.eq_ignore_ascii_case(name.trim()))
        };
        PROFILES.iter().find(is_called).ok_or_else(|| {
            let known: Vec<_> = PROFILES.iter().map(|profile| profile.name).collect();
            Error::new(
                ErrorKind::ModelNotFound,
                format!("{name:?} is no model of the E5 family; known are {}", known.join(", ")),
            )
        })
    }

    /// The name of a precision in its variants, which also says if int8 is not calibrated.
    #[must_use]
    pub fn precision_label(&self, precision: Precision) -> &'static str {
        match precision {
            Precision::Int8 if !self.calibrated => "int8-not-calibrated",
            precision => precision.as_str(),
        }
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

/// The prefix of a text in this role, from the model card: "Each input text should
/// start with "query: " or "passage: ", even for non-English texts."
#[must_use]
pub fn prefix(role: Role) -> &'static str {
    match role {
        Role::Query => "query: ",
        Role::Document => "passage: ",
    }
}

impl Shape {
    /// A shape with the English vocabulary of BERT and 512 positions.
    #[must_use]
    pub const fn new(layers: usize, heads: usize, feed_forward: usize) -> Self {
        Self { layers, heads, feed_forward, vocabulary: 30_522, positions: 512 }
    }

    /// Sets the rows of the word table.
    #[must_use]
    pub const fn with_vocabulary(mut self, vocabulary: usize) -> Self {
        self.vocabulary = vocabulary;
        self
    }

    /// Sets the positions that a token may have.
    #[must_use]
    pub const fn with_positions(mut self, positions: usize) -> Self {
        self.positions = positions;
        self
    }
}

impl Precision {
    /// Every precision that this build knows.
    pub const ALL: &'static [Self] = &[
        Self::Int8,
        Self::F32,
        Self::Mixed,
        #[cfg(feature = "openvino")]
        Self::Bf16,
    ];

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
        Self::ALL.iter().copied().find(|precision| precision.as_str() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|precision| precision.as_str()).collect();
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
            for name in [profile.name, profile.repository, &profile.repository.to_uppercase()] {
                assert_eq!(Profile::by_name(name).unwrap(), profile);
            }
            assert!(profile.parameters > 1_000_000, "{}", profile.name);
        }
    }

    #[test]
    fn a_precision_that_nobody_measured_says_so_in_every_variant() {
        for profile in Profile::all() {
            let measured = profile.name == "multilingual-e5-small";
            assert_eq!(profile.precision_label(Precision::Int8) == "int8", measured, "{}", profile.name);
            assert_eq!(profile.precision_label(Precision::F32), "f32");
        }
    }

    #[test]
    fn every_precision_is_a_slice_whatever_the_features() {
        let all: &'static [Precision] = Precision::ALL;
        assert!(all.len() >= 3);
        for precision in all {
            assert_eq!(precision.as_str().parse::<Precision>().unwrap(), *precision);
        }
    }

    #[test]
    fn every_profile_has_positions_for_its_tokens() {
        for profile in Profile::all() {
            assert!(profile.shape.positions >= profile.max_tokens, "{}", profile.name);
            assert!(profile.dimension.is_multiple_of(profile.shape.heads), "{}", profile.name);
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Profile::by_name("e5-huge").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ModelNotFound);
        assert!(error.to_string().contains("multilingual-e5-small"));
    }
}
