//! Spaces and variants: which vectors may be compared, and which are the same numbers.
//!
//! Dimension says nothing: all-minilm and multilingual-e5-small are both 384 wide and have nothing in common.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A vector space: vectors of one space may be compared, vectors of two may not.
///
/// It is model family and size, pooling, prefix scheme, normalisation and dimension. Weights in another
/// precision make other numbers but the same space: see [`Variant`].
///
/// ```
/// use embed_core::{PrefixScheme, Space};
///
/// let space = Space::builder("multilingual-e5-small", 384).prefixes(PrefixScheme::QueryPassage).build();
/// assert_eq!(space.id(), "multilingual-e5-small/mean/query-passage/l2/384");
/// ```
#[derive(Clone)]
pub struct Space {
    inner: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    id: String,
    model: String,
    pooling: Pooling,
    prefixes: PrefixScheme,
    normalisation: Normalisation,
    dimension: usize,
}

/// How the vectors of the tokens become one vector of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pooling {
    /// The mean over all tokens.
    Mean,
    /// The vector of the first token.
    Cls,
    /// The vector of the last token.
    LastToken,
    /// The service doesn't say.
    Unknown,
}

/// What a model wants in front of the text for each role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PrefixScheme {
    /// Nothing: both roles give the same vector.
    None,
    /// `query: ` and `passage: `, as the E5 family was trained.
    QueryPassage,
    /// Others, by a digest of what they are.
    Other(u64),
}

/// What is done to the length of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Normalisation {
    /// Divided by its Euclidean norm.
    L2,
    /// Left as the model gives it.
    None,
}

/// Puts together a [`Space`].
#[derive(Debug)]
pub struct SpaceBuilder {
    model: String,
    pooling: Pooling,
    prefixes: PrefixScheme,
    normalisation: Normalisation,
    dimension: usize,
}

impl Space {
    /// A space of a model (family and size, without tag or precision) and its width; mean pooling, no
    /// prefixes and L2 unless the builder is told otherwise.
    pub fn builder(model: impl Into<String>, dimension: usize) -> SpaceBuilder {
        SpaceBuilder {
            model: model.into(),
            pooling: Pooling::Mean,
            prefixes: PrefixScheme::None,
            normalisation: Normalisation::L2,
            dimension,
        }
    }

    /// The name of the space, readable and stable: `model/pooling/prefixes/normalisation/dimension`. Two spaces have
    /// two names: what would make them ambiguous in the model's name (`;`, `=`, `%` and control characters) is
    /// percent-encoded.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Model family and size.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.inner.model
    }

    /// Numbers in a vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.inner.dimension
    }

    /// How token vectors become one.
    #[must_use]
    pub fn pooling(&self) -> Pooling {
        self.inner.pooling
    }

    /// What is put in front of a text.
    #[must_use]
    pub fn prefixes(&self) -> PrefixScheme {
        self.inner.prefixes
    }

    /// Whether vectors have norm 1.
    #[must_use]
    pub fn normalisation(&self) -> Normalisation {
        self.inner.normalisation
    }

    /// The space of these vectors cut to their first `dimension` numbers: another one, and this one if `dimension`
    /// is its own. What is cut is [divided by its norm again](crate::vector::truncate_dimensions), so that the new
    /// space is normalised even if this one is raw.
    #[must_use]
    pub fn with_dimension(&self, dimension: usize) -> Self {
        if dimension == self.dimension() {
            return self.clone();
        }
        Self::builder(self.model(), dimension)
            .pooling(self.pooling())
            .prefixes(self.prefixes())
            .normalisation(Normalisation::L2)
            .build()
    }
}

impl SpaceBuilder {
    /// Sets the pooling.
    #[must_use]
    pub fn pooling(mut self, pooling: Pooling) -> Self {
        self.pooling = pooling;
        self
    }

    /// Sets the prefix scheme.
    #[must_use]
    pub fn prefixes(mut self, prefixes: PrefixScheme) -> Self {
        self.prefixes = prefixes;
        self
    }

    /// Sets the normalisation.
    #[must_use]
    pub fn normalisation(mut self, normalisation: Normalisation) -> Self {
        self.normalisation = normalisation;
        self
    }

    /// The space.
    #[must_use]
    pub fn build(self) -> Space {
        let Self { model, pooling, prefixes, normalisation, dimension } = self;
        let id = format!(
            "{}/{}/{}/{}/{dimension}",
            escaped(&model),
            pooling.as_str(),
            prefixes.id(),
            normalisation.as_str()
        );
        Space { inner: Arc::new(Parts { id, model, pooling, prefixes, normalisation, dimension }) }
    }
}

/// A part of an id with what separates the parts percent-encoded, so that two ids are equal only if all their parts
/// are. A name as models have it stays as it is. (A `/` does no harm: what comes after the model has none.)
fn escaped(part: &str) -> Cow<'_, str> {
    encoded(part, |char| matches!(char, ';' | '=' | '%') || char.is_control())
}

fn encoded(part: &str, is_special: fn(char) -> bool) -> Cow<'_, str> {
    if !part.contains(is_special) {
        return part.into();
    }
    let mut id = String::with_capacity(part.len() + 8);
    for char in part.chars() {
        if is_special(char) {
            char.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| id.push_str(&format!("%{byte:02X}")));
        } else {
            id.push(char);
        }
    }
    id.into()
}

impl Pooling {
    fn as_str(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::LastToken => "last-token",
            Self::Unknown => "unknown",
        }
    }
}

impl PrefixScheme {
    fn id(self) -> Cow<'static, str> {
        match self {
            Self::None => "plain".into(),
            Self::QueryPassage => "query-passage".into(),
            Self::Other(digest) => format!("prompts-{digest:016x}").into(),
        }
    }
}

impl Normalisation {
    fn as_str(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::None => "raw",
        }
    }
}

impl PartialEq for Space {
    fn eq(&self, other: &Self) -> bool {
        // Rows of one response share the pointer, which spares most comparisons the text.
        Arc::ptr_eq(&self.inner, &other.inner) || self.inner.id == other.inner.id
    }
}

impl Eq for Space {}

impl std::hash::Hash for Space {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.inner.id.hash(state);
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Space({})", self.id())
    }
}

/// Vectors that are the same numbers for the same text and role: a [`Space`] plus everything that moves
/// the numbers without leaving the space (digest of the weights, precision, digest of the tokenizer, for a
/// remote server its version).
///
/// "The same numbers" is meant up to the rounding of one processor's arithmetic. A cache is keyed by the
/// id of the variant, so what isn't in it must not change a vector. How a long text was cut changes the
/// vector too, but is a matter of the request: a key has both.
///
/// ```
/// use embed_core::{Space, Variant};
///
/// let space = Space::builder("all-minilm", 384).build();
/// let variant = Variant::new(space, [("digest", "1b226e2802db"), ("server", "0.5.4")]);
/// assert_eq!(variant.id(), "all-minilm/mean/plain/l2/384;digest=1b226e2802db;server=0.5.4");
/// ```
#[derive(Clone)]
pub struct Variant {
    space: Space,
    id: Arc<str>,
}

impl Variant {
    /// A variant of a space by its traits, which are named in an order that the caller keeps the same.
    /// Other traits are another id: what would make ids ambiguous in a name or value (`;`, `=`, `%` and control
    /// characters) is percent-encoded.
    pub fn new<N, V>(space: Space, traits: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut id = space.id().to_owned();
        for (name, value) in traits {
            id.push_str(&format!(";{}={}", escaped(name.as_ref()), escaped(value.as_ref())));
        }
        Self { space, id: id.into() }
    }

    /// The variant of these vectors cut to their first `dimension` numbers; this one if they have no more.
    #[must_use]
    pub(crate) fn with_dimension(&self, dimension: usize) -> Self {
        let space = self.space.with_dimension(dimension);
        if space == self.space {
            return self.clone();
        }
        // In an id `;` and `=` take turns, so that `_` can stand for both, as long as no other `_` is in it.
        let of = match self.id.contains(['_', '%']) {
            false => self.id.replace([';', '='], "_"),
            true => encoded(&self.id, |char| matches!(char, ';' | '=' | '%' | '_')).into_owned(),
        };
        Self::new(space, [("cut-from", self.space.dimension().to_string()), ("of", of)])
    }

    /// The name of the variant, readable and stable.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The space it belongs to.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }
}

impl PartialEq for Variant {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Variant {}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variant({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// They are in cache keys and in collections that people have.
    #[test]
    fn ids_of_the_usual_models_stay() {
        let e5 = Space::builder("multilingual-e5-small", 384).prefixes(PrefixScheme::QueryPassage).build();
        let traits =
            [("weights", "0123456789abcdef"), ("precision", "int8"), ("tokenizer", "fedcba9876543210")];
        let e5 = Variant::new(e5, traits);
        assert_eq!(
            e5.id(),
            "multilingual-e5-small/mean/query-passage/l2/384;weights=0123456789abcdef;precision=int8;\
             tokenizer=fedcba9876543210"
        );
        assert_eq!(
            e5.with_dimension(128).id(),
            "multilingual-e5-small/mean/query-passage/l2/128;cut-from=384;of=multilingual-e5-small/mean/\
             query-passage/l2/384_weights_0123456789abcdef_precision_int8_tokenizer_fedcba9876543210"
        );
        let minilm = Space::builder("all-minilm", 384).build();
        let traits = [("digest", "1b226e2802dbb772"), ("server", "0.5.4"), ("context", "512")];
        let minilm = Variant::new(minilm, traits);
        assert_eq!(
            minilm.id(),
            "all-minilm/mean/plain/l2/384;digest=1b226e2802dbb772;server=0.5.4;context=512"
        );
        assert_eq!(
            minilm.with_dimension(256).id(),
            "all-minilm/mean/plain/l2/256;cut-from=384;of=all-minilm/mean/plain/l2/384_digest_\
             1b226e2802dbb772_server_0.5.4_context_512"
        );
        let tagged = Space::builder("someone/Embed_v2.1:335m-q8_0", 8).pooling(Pooling::Unknown).build();
        assert_eq!(tagged.id(), "someone/Embed_v2.1:335m-q8_0/unknown/plain/l2/8");
    }

    #[test]
    fn a_cut_to_the_width_there_is_changes_nothing() {
        let raw = Space::builder("m", 4).normalisation(Normalisation::None).build();
        let raw = Variant::new(raw, [("v", "1")]);
        assert_eq!(raw.with_dimension(4), raw);
        assert_eq!(raw.with_dimension(4).space(), raw.space());
        assert_eq!(raw.with_dimension(2).space().id(), "m/mean/plain/l2/2", "numbers and name agree");
    }

    proptest! {
        /// Small alphabets, so that ids that look alike come up: separators, what stands for them, and their codes.
        #[test]
        fn two_variants_have_two_ids(
            all in prop::collection::hash_set(
                (
                    "(m|m[;=_%/]{1,2}|m/mean/plain/l2/4(;x=1)?)",
                    1_usize..4,
                    any::<bool>(),
                    prop::collection::vec(("([xy;=_%]|%3B){0,2}", "([1;=_%\n]|%3B|1;y=2){0,3}"), 0..3),
                ),
                1..24,
            ),
        ) {
            let mut seen = HashMap::new();
            for (model, dimension, raw, traits) in all {
                let normalisation = if raw { Normalisation::None } else { Normalisation::L2 };
                let space = Space::builder(&*model, dimension).normalisation(normalisation).build();
                let variant = Variant::new(space, traits.iter().map(|(name, value)| (name, value)));
                let whole = (model, dimension, raw, traits);
                let cut = variant.with_dimension(9);
                let ids = [(0, variant), (1, cut.with_dimension(7)), (2, cut)];
                for (times, variant) in ids {
                    prop_assert!(!variant.id().contains('\n'));
                    let other = seen.insert(variant.id().to_owned(), (times, whole.clone()));
                    prop_assert!(other.is_none(), "{}: {:?} and {:?}", variant, other, whole);
                }
            }
        }
    }

    #[test]
    fn equal_width_is_not_equal_space() {
        let minilm = Space::builder("all-minilm", 384).build();
        let e5 = Space::builder("multilingual-e5-small", 384).prefixes(PrefixScheme::QueryPassage).build();
        assert_ne!(minilm, e5);
        assert_ne!(e5, e5.with_dimension(128));
        assert_eq!(e5, e5.with_dimension(384));
    }

    #[test]
    fn separators_in_a_value_cannot_forge_another_variant() {
        let space = Space::builder("m", 2).build();
        let forged = Variant::new(space.clone(), [("a", "1;b=2")]);
        let honest = Variant::new(space, [("a", "1"), ("b", "2")]);
        assert_ne!(forged, honest);
    }
}
