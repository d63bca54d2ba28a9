//! Spaces and variants: which vectors may be compared, and which are the same numbers.
//!
//! Dimension says nothing: all-minilm and multilingual-e5-small are both 384 wide and have nothing in common.

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

    /// The name of the space, readable and stable: `model/pooling/prefixes/normalisation/dimension`.
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

    /// The space of these vectors cut to their first `dimension` numbers: another one.
    #[must_use]
    pub fn with_dimension(&self, dimension: usize) -> Self {
        Self::builder(self.model(), dimension)
            .pooling(self.pooling())
            .prefixes(self.prefixes())
            .normalisation(self.normalisation())
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
            "{model}/{}/{}/{}/{dimension}",
            pooling.as_str(),
            prefixes.as_str(),
            normalisation.as_str()
        );
        Space { inner: Arc::new(Parts { id, model, pooling, prefixes, normalisation, dimension }) }
    }
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
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::QueryPassage => "query-passage",
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
    /// `;` and `=` in a name or value would make ids ambiguous and are replaced by `_`.
    pub fn new<N, V>(space: Space, traits: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut id = space.id().to_owned();
        for (name, value) in traits {
            let plain = |text: &str| text.replace([';', '='], "_");
            id.push_str(&format!(";{}={}", plain(name.as_ref()), plain(value.as_ref())));
        }
        Self { space, id: id.into() }
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
    use super::*;

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
