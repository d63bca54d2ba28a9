//! What a service answers: one row for each text, a vector or that row's own error.

use std::fmt;
use std::sync::Arc;

use crate::{Error, ErrorKind, ModelInfo, Result, Space, vector};

/// The answer to an [`EmbedRequest`](crate::EmbedRequest): one row for each text, in the order asked.
///
/// All vectors lie in one flat buffer. Rows may be of different models and widths (a router's are), so
/// each row says which model made it.
#[derive(Clone)]
pub struct EmbedResponse {
    values: Vec<f32>,
    rows: Vec<Result<Slot>>,
}

/// Where a row's numbers start, and what is known of it.
#[derive(Debug, Clone)]
struct Slot {
    start: usize,
    info: RowInfo,
}

/// What is known of a row beside its numbers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RowInfo {
    /// The model that made the vector, and with it the space and the width.
    pub model: ModelInfo,
    /// Tokens of the text, if the service counts them.
    pub tokens: Option<TokenCount>,
    /// Whether a part of the text isn't in the vector.
    pub truncated: bool,
    /// The cache tier that the row was read from; `None` if it was computed for this request.
    pub tier: Option<Arc<str>>,
    /// The route that a router sent the text to.
    pub route: Option<Arc<str>>,
}

/// Tokens of one text, the model's special tokens and prefix included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCount {
    /// Tokens that went into the vector.
    pub used: usize,
    /// Tokens that the text has.
    pub total: usize,
}

/// A row: a vector that knows its space. Borrowed from the response.
#[derive(Clone, Copy)]
pub struct EmbeddingRef<'a> {
    vector: &'a [f32],
    info: &'a RowInfo,
}

/// A vector that knows its space.
#[derive(Clone)]
pub struct Embedding {
    vector: Vec<f32>,
    info: RowInfo,
}

/// Puts together an [`EmbedResponse`], in any order of rows.
#[derive(Debug)]
pub struct ResponseBuilder {
    values: Vec<f32>,
    rows: Vec<Option<Result<Slot>>>,
}

impl EmbedResponse {
    /// A builder for a response of `rows` rows.
    #[must_use]
    pub fn builder(rows: usize, dimension: usize) -> ResponseBuilder {
        ResponseBuilder { values: Vec::with_capacity(rows * dimension), rows: vec![None; rows] }
    }

    /// Number of rows: that of the texts asked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no text was asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row of the text at `index`.
    ///
    /// # Errors
    ///
    /// The row's own error.
    ///
    /// # Panics
    ///
    /// If there is no such row, as indexing a slice does.
    pub fn row(&self, index: usize) -> Result<EmbeddingRef<'_>, &Error> {
        let slot = self.rows[index].as_ref()?;
        let vector = &self.values[slot.start..slot.start + slot.info.model.dimension()];
        Ok(EmbeddingRef { vector, info: &slot.info })
    }

    /// The rows in the order asked.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Result<EmbeddingRef<'_>, &Error>> {
        (0..self.len()).map(|index| self.row(index))
    }

    /// The failed rows, with their indices.
    pub fn errors(&self) -> impl Iterator<Item = (usize, &Error)> {
        self.rows.iter().enumerate().filter_map(|(index, row)| Some((index, row.as_ref().err()?)))
    }

    /// The space of all vectors here; `None` if there is no vector, or if they are of several spaces.
    #[must_use]
    pub fn space(&self) -> Option<&Space> {
        let mut spaces = self.rows.iter().flatten().map(|slot| slot.info.model.space());
        let first = spaces.next()?;
        spaces.all(|space| space == first).then_some(first)
    }

    /// This response, if every row has a vector.
    ///
    /// # Errors
    ///
    /// The first failed row's error, with the row's index in its context.
    pub fn into_complete(self) -> Result<Self> {
        let first = self.errors().next().map(|(index, error)| error.clone().with_context("row", index));
        first.map_or(Ok(self), Err)
    }

    /// Names the route that a router took, on every row: in the [`RowInfo`] of a vector, in the context of an
    /// error. No vector is copied.
    #[must_use]
    pub fn with_route(mut self, route: &Arc<str>) -> Self {
        for row in &mut self.rows {
            match row {
                Ok(slot) => slot.info.route = Some(Arc::clone(route)),
                Err(error) => *error = error.clone().with_context("route", route),
            }
        }
        self
    }

    /// All vectors, row after row, and their width.
    ///
    /// # Errors
    ///
    /// The first failed row's error; [`ErrorKind::SpaceMismatch`] if the rows are of several spaces.
    pub fn into_matrix(self) -> Result<(Vec<f32>, usize)> {
        let this = self.into_complete()?;
        if this.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let dimension = this.space().map(Space::dimension).ok_or_else(|| {
            Error::new(ErrorKind::SpaceMismatch, "the rows are of several spaces and make no matrix")
        })?;
        let in_order = this.rows.iter().flatten().enumerate().all(|(i, slot)| slot.start == i * dimension);
        if in_order && this.values.len() == this.len() * dimension {
            return Ok((this.values, dimension));
        }
        let values = this.rows().flatten().flat_map(|row| row.vector.iter().copied()).collect();
        Ok((values, dimension))
    }

    /// The vector of a request of one text.
    ///
    /// # Errors
    ///
    /// The row's error; [`ErrorKind::Protocol`] if there isn't exactly one row.
    pub fn into_single(self) -> Result<Embedding> {
        if self.len() != 1 {
            return Err(Error::new(ErrorKind::Protocol, "one text was asked and the answer isn't one row")
                .with_context("rows", self.len()));
        }
        self.row(0).map(|row| row.to_owned()).map_err(Clone::clone)
    }
}

impl ResponseBuilder {
    /// Sets the row at `index`. The vector is checked at this door: what isn't a vector of the model
    /// becomes the row's error.
    pub fn put(&mut self, index: usize, values: &[f32], info: RowInfo) {
        self.rows[index] = Some(vector::check(values, info.model.dimension()).map(|()| {
            let start = self.values.len();
            self.values.extend_from_slice(values);
            Slot { start, info }
        }));
    }

    /// Sets the row at `index` to the vector that `fill` writes over as many zeros, in its place in the response.
    /// It saves a copy where the numbers come from elsewhere than a slice.
    ///
    /// # Errors
    ///
    /// If it isn't a vector of the model. The row is then as it was.
    pub fn put_with(&mut self, index: usize, info: RowInfo, fill: impl FnOnce(&mut [f32])) -> Result<()> {
        let start = self.values.len();
        let dimension = info.model.dimension();
        self.values.resize(start + dimension, 0.0);
        let vector = &mut self.values[start..];
        fill(vector);
        if let Err(error) = vector::check(vector, dimension) {
            self.values.truncate(start);
            return Err(error);
        }
        self.rows[index] = Some(Ok(Slot { start, info }));
        Ok(())
    }

    /// Sets the error of the row at `index`.
    pub fn fail(&mut self, index: usize, error: Error) {
        self.rows[index] = Some(Err(error));
    }

    /// Sets the row at `index` to a row of another response.
    pub fn put_row(&mut self, index: usize, row: Result<EmbeddingRef<'_>, &Error>) {
        match row {
            Ok(row) => self.put(index, row.vector, row.info.clone()),
            Err(error) => self.fail(index, error.clone()),
        }
    }

    /// The response. A row that was never set is an error of kind [`ErrorKind::Internal`], so that a
    /// forgotten row can't shift the others.
    #[must_use]
    pub fn build(self) -> EmbedResponse {
        let forgotten = || Err(Error::new(ErrorKind::Internal, "the service gave no answer for this row"));
        let rows = self.rows.into_iter().map(|row| row.unwrap_or_else(forgotten)).collect();
        EmbedResponse { values: self.values, rows }
    }
}

impl RowInfo {
    /// A row that a model computed for this request, of a text that isn't cut.
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
    /// The numbers.
    #[must_use]
    pub fn vector(&self) -> &'a [f32] {
        self.vector
    }

    /// What is known of the row.
    #[must_use]
    pub fn info(&self) -> &'a RowInfo {
        self.info
    }

    /// The space of the vector.
    #[must_use]
    pub fn space(&self) -> &'a Space {
        self.info.model.space()
    }

    /// The cosine to another vector of the same space.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::SpaceMismatch`] if the other is of another space: there is no such number.
    pub fn similarity(&self, other: EmbeddingRef<'_>) -> Result<f32> {
        if self.space() != other.space() {
            return Err(Error::new(ErrorKind::SpaceMismatch, "vectors of two spaces can't be compared")
                .with_context("left", self.space())
                .with_context("right", other.space()));
        }
        vector::cosine(self.vector, other.vector)
    }

    /// A copy that outlives the response.
    #[must_use]
    pub fn to_owned(&self) -> Embedding {
        Embedding { vector: self.vector.to_vec(), info: self.info.clone() }
    }
}

impl Embedding {
    /// The vector as a row.
    #[must_use]
    pub fn as_ref(&self) -> EmbeddingRef<'_> {
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

    /// What is known of the vector.
    #[must_use]
    pub fn info(&self) -> &RowInfo {
        &self.info
    }

    /// The space of the vector.
    #[must_use]
    pub fn space(&self) -> &Space {
        self.info.model.space()
    }

    /// The cosine to another vector of the same space.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::SpaceMismatch`] if the other is of another space: there is no such number.
    pub fn similarity(&self, other: &Self) -> Result<f32> {
        self.as_ref().similarity(other.as_ref())
    }

    /// The vector cut to its first `dimension` numbers and normalised again; its space is
    /// [`Space::with_dimension`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if the vector hasn't that many.
    pub fn truncate_dimensions(&self, dimension: usize) -> Result<Self> {
        let vector = vector::truncate_dimensions(&self.vector, dimension)?;
        let mut info = self.info.clone();
        info.model = info.model.with_dimension(dimension);
        Ok(Self { vector, info })
    }
}

/// Shape and space, not the numbers.
impl fmt::Debug for EmbedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbedResponse")
            .field("rows", &self.len())
            .field("failed", &self.errors().count())
            .field("space", &self.space())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EmbeddingRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddingRef").field("space", self.space()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedding").field("space", self.space()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Variant;

    fn model(name: &str, dimension: usize) -> ModelInfo {
        let variant = Variant::new(Space::builder(name, dimension).build(), [("v", "1")]);
        ModelInfo::builder("test", name, variant).build()
    }

    #[test]
    fn two_spaces_of_one_width_have_no_similarity() {
        let mut builder = EmbedResponse::builder(2, 2);
        builder.put(0, &[1.0, 0.0], RowInfo::new(model("a", 2)));
        builder.put(1, &[1.0, 0.0], RowInfo::new(model("b", 2)));
        let response = builder.build();
        let error = response.row(0).unwrap().similarity(response.row(1).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::SpaceMismatch);
        assert!(response.space().is_none());
        assert_eq!(response.into_matrix().unwrap_err().kind(), ErrorKind::SpaceMismatch);
    }

    #[test]
    fn cutting_dimensions_leaves_the_space() {
        let mut builder = EmbedResponse::builder(1, 4);
        builder.put(0, &[1.0, 2.0, 2.0, 4.0], RowInfo::new(model("a", 4)));
        let whole = builder.build().into_single().unwrap();
        let cut = whole.truncate_dimensions(2).unwrap();
        assert_eq!(cut.space().dimension(), 2);
        assert_eq!(cut.similarity(&whole).unwrap_err().kind(), ErrorKind::SpaceMismatch);
        assert!((vector::norm(cut.vector()) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_bad_vector_is_an_error_of_its_row_alone() {
        let model = model("a", 2);
        let mut builder = EmbedResponse::builder(4, 2);
        builder.put(0, &[f32::NAN, 1.0], RowInfo::new(model.clone()));
        builder.put(1, &[1.0], RowInfo::new(model.clone()));
        builder.put(3, &[0.6, 0.8], RowInfo::new(model));
        let response = builder.build();
        let kinds: Vec<_> = response.errors().map(|(index, error)| (index, error.kind())).collect();
        assert_eq!(
            kinds,
            [(0, ErrorKind::Protocol), (1, ErrorKind::DimensionMismatch), (2, ErrorKind::Internal)]
        );
        assert_eq!(response.row(3).unwrap().vector(), [0.6, 0.8]);
        assert_eq!(response.into_complete().unwrap_err().kind(), ErrorKind::Protocol);
    }

    #[test]
    fn a_route_is_named_on_every_row() {
        let mut builder = EmbedResponse::builder(2, 2);
        builder.put(0, &[0.6, 0.8], RowInfo::new(model("a", 2)));
        builder.fail(1, Error::new(ErrorKind::Timeout, "too slow"));
        let response = builder.build().with_route(&"e5".into());
        assert_eq!(response.row(0).unwrap().info().route.as_deref(), Some("e5"));
        assert_eq!(response.row(1).unwrap_err().to_string(), "too slow (route: e5)");
    }

    proptest! {
        /// Rows that are set in any order come out in the order asked.
        #[test]
        fn no_order_of_setting_shifts_a_row(order in Just((0..20_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let model = model("a", 3);
            let mut builder = EmbedResponse::builder(order.len(), 3);
            for &index in &order {
                builder.put(index, &[index as f32 + 1.0; 3], RowInfo::new(model.clone()));
            }
            let (values, dimension) = builder.build().into_matrix().unwrap();
            for (index, row) in values.chunks_exact(dimension).enumerate() {
                prop_assert_eq!(row, [index as f32 + 1.0; 3]);
            }
        }
    }
}
