//! Vectors together with their space, borrowed from a response or owned.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::{Error, ErrorKind, ModelInfo, Result, Space, vector};

/// A row: a vector with its space, borrowed from the response.
///
/// It derefs to a slice of its numbers. Two rows are equal if their numbers and their [`RowInfo`] are.
#[derive(Clone, Copy, PartialEq)]
pub struct EmbeddingRef<'a> {
    vector: &'a [f32],
    info: &'a RowInfo,
}

/// A vector with its space. [`EmbedderExt`](crate::EmbedderExt) returns one for a text.
///
/// It derefs to a slice of its numbers. Two embeddings are equal if their numbers and their [`RowInfo`] are.
///
/// [`top_k`](crate::top_k) finds those of a response that are nearest to one.
#[derive(Clone, PartialEq)]
pub struct Embedding {
    vector: Vec<f32>,
    info: RowInfo,
}

/// Everything known about a row besides its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowInfo {
    /// The model that computed the vector, and with it the space and the dimension.
    pub model: ModelInfo,
    /// The text's tokens, if the service counts them.
    pub tokens: Option<TokenCount>,
    /// Whether part of the text was cut off.
    pub truncated: bool,
    /// The cache tier that the row was read from; `None` if it was computed for this request.
    pub tier: Option<Arc<str>>,
    /// The route that a router sent the text to.
    pub route: Option<Arc<str>>,
}

/// Token counts of one text, special tokens and prefix included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCount {
    /// Tokens that went into the vector.
    pub used: usize,
    /// Tokens that the text has.
    pub total: usize,
}

impl RowInfo {
    /// A row that a model computed for this request from a text that wasn't cut.
    #[must_use]
    pub fn new(model: ModelInfo) -> Self {
        Self { model, tokens: None, truncated: false, tier: None, route: None }
    }

    /// Sets the token count, and with it whether the text was cut.
    #[must_use]
    pub fn with_tokens(mut self, tokens: TokenCount) -> Self {
        self.truncated = tokens.used < tokens.total;
        self.tokens = Some(tokens);
        self
    }
}

impl<'a> EmbeddingRef<'a> {
    pub(crate) fn new(vector: &'a [f32], info: &'a RowInfo) -> Self {
        Self { vector, info }
    }

    /// The numbers.
    #[must_use]
    pub fn vector(&self) -> &'a [f32] {
        self.vector
    }

    /// Everything known about the row besides its numbers.
    #[must_use]
    pub fn info(&self) -> &'a RowInfo {
        self.info
    }

    /// The space of the vector.
    #[must_use]
    pub fn space(&self) -> &'a Space {
        self.info.model.space()
    }

    /// The cosine similarity to another vector of the same space, a row or an [`Embedding`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::SpaceMismatch`] if the other vector is of another space.
    pub fn similarity<'b>(&self, other: impl Into<EmbeddingRef<'b>>) -> Result<f32> {
        let other = other.into();
        if self.space() != other.space() {
            return Err(Error::new(ErrorKind::SpaceMismatch, "vectors of two spaces can't be compared")
                .with_context("left", self.space())
                .with_context("right", other.space()));
        }
        vector::cosine(self.vector, other.vector)
    }

    /// A copy that outlives the response.
    #[must_use]
    pub fn to_embedding(&self) -> Embedding {
        Embedding { vector: self.vector.to_vec(), info: self.info.clone() }
    }
}

impl Embedding {
    /// The vector as a borrowed row.
    #[must_use]
    pub fn as_view(&self) -> EmbeddingRef<'_> {
        EmbeddingRef { vector: &self.vector, info: &self.info }
    }

    /// The numbers.
    #[must_use]
    pub fn vector(&self) -> &[f32] {
        &self.vector
    }

    /// The numbers, taken out.
    #[must_use]
    pub fn into_vector(self) -> Vec<f32> {
        self.vector
    }

    /// Everything known about the vector besides its numbers.
    #[must_use]
    pub fn info(&self) -> &RowInfo {
        &self.info
    }

    /// The space of the vector.
    #[must_use]
    pub fn space(&self) -> &Space {
        self.info.model.space()
    }

    /// The cosine similarity to another vector of the same space, a row or an `Embedding`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::SpaceMismatch`] if the other vector is of another space.
    pub fn similarity<'b>(&self, other: impl Into<EmbeddingRef<'b>>) -> Result<f32> {
        self.as_view().similarity(other)
    }

    /// The vector cut to its first `dimension` numbers and normalised again, even if its space isn't normalised; the new
    /// space is [`Space::with_dimension`]. Cut to its full dimension, the vector stays as it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the vector doesn't have that many numbers, or if they are all zero.
    pub fn truncate_dimensions(&self, dimension: usize) -> Result<Self> {
        let vector = vector::truncate_dimensions(&self.vector, dimension)?;
        let mut info = self.info.clone();
        info.model = info.model.with_dimension(dimension);
        Ok(Self { vector, info })
    }
}

impl<'a> From<&'a Embedding> for EmbeddingRef<'a> {
    fn from(embedding: &'a Embedding) -> Self {
        embedding.as_view()
    }
}

impl From<&Self> for EmbeddingRef<'_> {
    fn from(row: &Self) -> Self {
        *row
    }
}

impl Deref for EmbeddingRef<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.vector
    }
}

impl Deref for Embedding {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.vector
    }
}

impl AsRef<[f32]> for EmbeddingRef<'_> {
    fn as_ref(&self) -> &[f32] {
        self.vector
    }
}

impl AsRef<[f32]> for Embedding {
    fn as_ref(&self) -> &[f32] {
        &self.vector
    }
}

/// Shows the space, not the numbers.
impl fmt::Debug for EmbeddingRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddingRef").field("space", self.space()).finish_non_exhaustive()
    }
}

/// Shows the space, not the numbers.
impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedding").field("space", self.space()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Normalisation, Variant};

    fn embedding(normalisation: Normalisation, vector: &[f32]) -> Embedding {
        let space = Space::builder("a", vector.len()).normalisation(normalisation).build();
        let model = ModelInfo::builder("test", "a", Variant::new(space, [("v", "1")])).build();
        Embedding { vector: vector.to_vec(), info: RowInfo::new(model) }
    }

    #[test]
    fn cutting_dimensions_leaves_the_space() {
        let whole = embedding(Normalisation::L2, &[1.0, 2.0, 2.0, 4.0]);
        let cut = whole.truncate_dimensions(2).unwrap();
        assert_eq!(cut.space().dimension(), 2);
        assert_eq!(cut.similarity(&whole).unwrap_err().kind(), ErrorKind::SpaceMismatch);
        assert!((vector::norm(cut.vector()) - 1.0).abs() < 1e-6);
        let none = embedding(Normalisation::L2, &[0.0, 0.0, 1.0]).truncate_dimensions(2);
        assert_eq!(none.unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_cut_of_a_raw_vector_is_normalised_and_says_so() {
        let raw = embedding(Normalisation::None, &[3.0, 4.0, 0.0, 12.0]);
        let cut = raw.truncate_dimensions(2).unwrap();
        assert_eq!(cut.vector(), [0.6, 0.8]);
        assert_eq!(cut.space().normalisation(), Normalisation::L2);
        assert_eq!(cut.space().id(), "a/mean/plain/l2/2");
    }

    #[test]
    fn a_cut_to_the_full_dimension_changes_nothing() {
        for normalisation in [Normalisation::None, Normalisation::L2] {
            let whole = embedding(normalisation, &[3.0, 4.0, 0.0, 12.0]);
            let same = whole.truncate_dimensions(4).unwrap();
            assert_eq!(same, whole);
            assert_eq!(same.space(), whole.space());
            assert_eq!(same.info().model.variant(), whole.info().model.variant());
        }
    }

    #[test]
    #[expect(clippy::needless_borrows_for_generic_args, reason = "callers write it so")]
    fn rows_and_embeddings_are_compared_and_are_slices() {
        let owned = embedding(Normalisation::L2, &[0.6, 0.8]);
        let row = owned.as_view();
        let all = [
            owned.similarity(&owned),
            owned.similarity(row),
            owned.similarity(&row),
            row.similarity(&owned),
            row.similarity(row),
        ];
        assert!(all.into_iter().all(|cosine| (cosine.unwrap() - 1.0).abs() < 1e-6));
        let slice: &[f32] = &owned;
        assert_eq!(slice, AsRef::<[f32]>::as_ref(&row));
        assert_eq!(slice, AsRef::<[f32]>::as_ref(&owned));
        assert_eq!((owned.len(), row.len()), (2, 2));
        assert_eq!(row.to_embedding(), owned);
        assert_ne!(embedding(Normalisation::None, &[0.6, 0.8]), owned, "another space");
        assert_ne!(embedding(Normalisation::L2, &[0.8, 0.6]), owned);
    }
}
