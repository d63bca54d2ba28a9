//! What an encoder is: its name and source, its shape, and what stands around the network. Everything else of this crate is
//! the same for all of them.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use embed_core::{Error, ErrorKind, Normalisation, Pooling, PrefixScheme, Role, Space};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Precision;

/// An encoder of the BERT or XLM-RoBERTa family.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Profile {
    /// The family, which names the back end in figures and answers: `e5`, `minilm`.
    pub family: &'static str,
    /// The name in this workspace: `multilingual-e5-small`.
    pub name: &'static str,
    /// The model in the name of its [space](Self::space), if that isn't [`name`](Self::name): other services may have the
    /// same model under a shorter name.
    pub space_name: &'static str,
    /// The repository on the Hugging Face hub; empty for a model that was made of a folder.
    pub repository: &'static str,
    /// The commit that is used, since a branch could change the vectors. For a model that was made of a folder, the
    /// SHA-256 of its files.
    pub revision: &'static str,
    /// Numbers in a vector.
    pub dimension: usize,
    /// The most tokens that it reads, including the two special ones and the prompt.
    pub max_tokens: usize,
    /// How the states of the tokens become one vector: [`Pooling::Mean`] or [`Pooling::Cls`].
    pub pooling: Pooling,
    /// Whether a vector is divided by its norm.
    pub normalisation: Normalisation,
    /// What stands before the text.
    pub prompts: Prompts,
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

/// What stands before a text in each role; empty for nothing. A prompt ends with a space, so that its tokens don't depend on
/// the text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Prompts {
    /// Before a query.
    pub query: &'static str,
    /// Before a document.
    pub document: &'static str,
}

/// The sizes of the parts of a model, which distinguish it from other models of the same width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// The E5 family was trained with these (model card: "Each input text should start with "query: " or "passage: ", even for
/// non-English texts").
const E5: Prompts = Prompts { query: "query: ", document: "passage: " };

/// Revisions are those that the MTEB leaderboard pins, and for multilingual-e5-small the first that has ONNX files beside the
/// same weights. Limits of the MiniLM models are those of their `sentence_bert_config.json`, as sentence-transformers
/// applies them; their networks have 512 positions.
static PROFILES: [Profile; 9] = [
    Profile {
        name: "multilingual-e5-small",
        repository: "intfloat/multilingual-e5-small",
        revision: "614241f622f53c4eeff9890bdc4f31cfecc418b3",
        parameters: 117_653_760,
        multilingual: true,
        shape: Shape { vocabulary: 250_037, ..SMALL },
        calibrated: true,
        ..e5(384)
    },
    Profile {
        name: "multilingual-e5-base",
        repository: "intfloat/multilingual-e5-base",
        revision: "d13f1b27baf31030b7fd040960d60d909913633f",
        parameters: 278_043_648,
        multilingual: true,
        shape: Shape { vocabulary: 250_002, ..BASE },
        ..e5(768)
    },
    Profile {
        name: "multilingual-e5-large",
        repository: "intfloat/multilingual-e5-large",
        revision: "ab10c1a7f42e74530fe7ae5be82e6d4f11a719eb",
        parameters: 559_890_432,
        multilingual: true,
        shape: Shape { vocabulary: 250_002, ..LARGE },
        ..e5(1024)
    },
    Profile {
        name: "e5-small-v2",
        repository: "intfloat/e5-small-v2",
        revision: "dca8b1a9dae0d4575df2bf423a5edb485a431236",
        parameters: 33_360_000,
        shape: SMALL,
        ..e5(384)
    },
    Profile {
        name: "e5-base-v2",
        repository: "intfloat/e5-base-v2",
        revision: "1c644c92ad3ba1efdad3f1451a637716616a20e8",
        parameters: 109_482_240,
        shape: BASE,
        ..e5(768)
    },
    Profile {
        name: "e5-large-v2",
        repository: "intfloat/e5-large-v2",
        revision: "b322e09026e4ea05f42beadf4d661fb4e101d311",
        parameters: 335_141_888,
        shape: LARGE,
        ..e5(1024)
    },
    Profile {
        name: "all-minilm-l6-v2",
        // The name that Ollama serves the same weights under, so that both are one space.
        space_name: "all-minilm",
        repository: "sentence-transformers/all-MiniLM-L6-v2",
        revision: "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        parameters: 22_713_216,
        max_tokens: 256,
        shape: Shape { layers: 6, ..SMALL },
        calibrated: true,
        ..minilm(384)
    },
    Profile {
        name: "all-minilm-l12-v2",
        repository: "sentence-transformers/all-MiniLM-L12-v2",
        revision: "c004d8e3e901237d8fa7e9fff12774962e391ce5",
        parameters: 33_360_000,
        max_tokens: 128,
        shape: SMALL,
        ..minilm(384)
    },
    Profile {
        name: "paraphrase-multilingual-minilm-l12-v2",
        repository: "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        revision: "86741b4e3f5cb7765a600d3a3d55a0f6a6cb443d",
        parameters: 117_653_760,
        max_tokens: 128,
        multilingual: true,
        shape: Shape { vocabulary: 250_037, ..SMALL },
        // Its vectors keep their length.
        normalisation: Normalisation::None,
        ..minilm(384)
    },
];

/// The shapes of BERT in three sizes, with its English vocabulary.
const SMALL: Shape = Shape::new(12, 12, 1536);
const BASE: Shape = Shape::new(12, 12, 3072);
const LARGE: Shape = Shape::new(24, 16, 4096);

/// What the models of the E5 family have in common.
const fn e5(dimension: usize) -> Profile {
    Profile {
        family: "e5",
        name: "",
        space_name: "",
        repository: "",
        revision: "",
        dimension,
        max_tokens: 512,
        pooling: Pooling::Mean,
        normalisation: Normalisation::L2,
        prompts: E5,
        multilingual: false,
        parameters: 0,
        shape: SMALL,
        calibrated: false,
    }
}

/// What the MiniLM models of sentence-transformers have in common.
const fn minilm(dimension: usize) -> Profile {
    Profile { family: "minilm", prompts: Prompts { query: "", document: "" }, ..e5(dimension) }
}

impl Profile {
    /// Every known model.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &PROFILES
    }

    /// The model with this name, space or repository on the hub; case doesn't matter.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ModelNotFound`]; the message lists the names.
    pub fn by_name(name: &str) -> Result<&'static Self, Error> {
        let is_called = |profile: &&Self| {
            let names = [profile.name, profile.space_name, profile.repository];
            names.iter().any(|known| !known.is_empty() && known.eq_ignore_ascii_case(name.trim()))
        };
        PROFILES.iter().find(is_called).ok_or_else(|| {
            let known: Vec<_> = Self::all().iter().map(|profile| profile.name).collect();
            Error::new(
                ErrorKind::ModelNotFound,
                format!("{name:?} is no model that this program can run; known are {}", known.join(", ")),
            )
        })
    }

    /// A model that isn't built in: an encoder of the BERT family with mean pooling, norm 1, no prompts and 512 tokens, unless
    /// the methods below say otherwise. int8 of it isn't calibrated. Embedders take it as `&'static`, so it is made once,
    /// as a `static` or by `Box::leak`.
    #[must_use]
    pub const fn custom(name: &'static str, dimension: usize, shape: Shape) -> Self {
        Self { family: "encoder", name, shape, ..minilm(dimension) }
    }

    /// Sets the repository on the hub and the commit.
    #[must_use]
    pub const fn with_source(mut self, repository: &'static str, revision: &'static str) -> Self {
        self.repository = repository;
        self.revision = revision;
        self
    }

    /// Sets the most tokens that it reads.
    #[must_use]
    pub const fn with_max_tokens(mut self, max_tokens: usize) -> Self {
        self.max_tokens = max_tokens;
        self
    }

    /// Sets how the states of the tokens become one vector: [`Pooling::Mean`] or [`Pooling::Cls`].
    #[must_use]
    pub const fn with_pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = pooling;
        self
    }

    /// Sets whether a vector is divided by its norm.
    #[must_use]
    pub const fn with_normalisation(mut self, normalisation: Normalisation) -> Self {
        self.normalisation = normalisation;
        self
    }

    /// Sets what stands before a text. A prompt that isn't empty must end with a space.
    #[must_use]
    pub const fn with_prompts(mut self, query: &'static str, document: &'static str) -> Self {
        self.prompts = Prompts { query, document };
        self
    }

    /// Gives a profile that lives as long as the process. The same profile twice gives the same reference, so that settings
    /// may be read again and again; one of [`all`](Self::all) gives its reference in that table.
    #[must_use]
    pub fn interned(self) -> &'static Self {
        static INTERNED: Mutex<Vec<&'static Profile>> = Mutex::new(Vec::new());
        if let Some(built_in) = PROFILES.iter().find(|built_in| **built_in == self) {
            return built_in;
        }
        let mut interned = INTERNED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = interned.iter().find(|known| ***known == self) {
            return known;
        }
        let new: &'static Self = Box::leak(Box::new(self));
        interned.push(new);
        new
    }

    /// The first part in which the files of this profile differ from those that were made for `sealed`. Prompts aren't a
    /// part of them: the same files with other prompts are another space, but the same model.
    pub(crate) fn other_part(&self, sealed: &Self, precision: Precision) -> Option<&'static str> {
        let parts = [
            ("name", self.name != sealed.name),
            ("name of its space", self.space_model() != sealed.space_model()),
            ("dimension", self.dimension != sealed.dimension),
            ("shape", self.shape != sealed.shape),
            ("pooling", self.pooling != sealed.pooling),
            ("normalisation", self.normalisation != sealed.normalisation),
            ("limit of tokens", self.max_tokens != sealed.max_tokens),
            ("calibration", self.precision_label(precision) != sealed.precision_label(precision)),
        ];
        parts.into_iter().find(|(_, differs)| *differs).map(|(part, _)| part)
    }

    /// Refuses what no embedder can keep its promises with.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Config, format!("{}: {what}", self.name)));
        if self.dimension == 0 || self.max_tokens == 0 {
            return wrong("the dimension and max_tokens must be more than 0");
        }
        let prompts = [self.prompts.query, self.prompts.document];
        if prompts.iter().any(|prompt| !prompt.is_empty() && !prompt.ends_with(' ')) {
            return wrong("a prompt must end with a space");
        }
        if !matches!(self.pooling, Pooling::Mean | Pooling::Cls) {
            return wrong("the pooling must be the mean or the first token");
        }
        if self.max_tokens > self.shape.positions {
            return wrong("the model has fewer positions than max_tokens");
        }
        Ok(())
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
        Space::builder(self.space_model(), self.dimension)
            .pooling(self.pooling)
            .prefixes(self.prompts.scheme())
            .normalisation(self.normalisation)
            .build()
    }

    pub(crate) fn space_model(&self) -> &'static str {
        if self.space_name.is_empty() { self.name } else { self.space_name }
    }
}

/// A text that lives as long as the process; the same text twice is the same.
pub(crate) fn interned_text(text: &str) -> &'static str {
    static TEXTS: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text) {
        return known;
    }
    let new: &'static str = Box::leak(Box::from(text));
    texts.insert(new);
    new
}

impl Prompts {
    /// What stands before a text in this role.
    #[must_use]
    pub fn of(&self, role: Role) -> &'static str {
        match role {
            Role::Query => self.query,
            Role::Document => self.document,
        }
    }

    /// How a space names them.
    #[must_use]
    pub fn scheme(&self) -> PrefixScheme {
        match (self.query, self.document) {
            ("", "") => PrefixScheme::None,
            ("query: ", "passage: ") => PrefixScheme::QueryPassage,
            (query, document) => {
                let digest = Sha256::digest(format!("{query}\0{document}"));
                let first = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
                PrefixScheme::Other(first)
            }
        }
    }

    /// Whether the caller has put one of them before the text.
    pub(crate) fn begin(&self, text: &str) -> bool {
        [self.query, self.document].iter().any(|prompt| !prompt.is_empty() && text.starts_with(prompt))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_names_its_repository_and_a_whole_commit() {
        for profile in Profile::all() {
            let (owner, name) = profile.repository.split_once('/').unwrap();
            assert!(matches!(owner, "intfloat" | "sentence-transformers"), "{owner}");
            assert!(name.eq_ignore_ascii_case(profile.name), "{name}");
            for prompt in [profile.prompts.query, profile.prompts.document] {
                assert!(prompt.is_empty() || prompt.ends_with(' '), "{prompt:?}");
            }
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
            let measured = ["multilingual-e5-small", "all-minilm-l6-v2"].contains(&profile.name);
            assert_eq!(profile.precision_label(Precision::Int8) == "int8", measured, "{}", profile.name);
            assert_eq!(profile.precision_label(Precision::F32), "f32");
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
    fn other_prompts_are_another_space() {
        const MODEL: Profile = Profile::custom("a", 384, Shape::new(1, 12, 64));
        let spaces = [("", ""), ("query: ", "passage: "), ("query: ", ""), ("q: ", "")]
            .map(|(query, document)| MODEL.with_prompts(query, document).space());
        let ids: HashSet<&str> = spaces.iter().map(Space::id).collect();
        assert_eq!(ids.len(), spaces.len(), "{ids:?}");
        assert!(MODEL.with_prompts("query: ", "").check().is_ok());
        assert!(MODEL.with_prompts("query:", "").check().unwrap_err().to_string().contains("space"));
        assert!(MODEL.with_pooling(Pooling::LastToken).check().is_err());
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Profile::by_name("e5-huge").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ModelNotFound);
        assert!(error.to_string().contains("multilingual-e5-small"));
    }
}
