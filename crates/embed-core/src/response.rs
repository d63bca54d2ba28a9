//! Responses of an embedding service: one row for each text, a vector or an error.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::{Embedding, EmbeddingRef, Error, ErrorKind, Result, RowInfo, Space, vector};

/// The answer to an [`EmbedRequest`](crate::EmbedRequest): one row for each text, in the order of the request.
///
/// The vectors are in one flat buffer, or in the buffers of the responses that rows are [shared
/// with](ResponseBuilder::share_row). Rows may be of different models and dimensions (a router's are), so each row names
/// the model that computed it.
///
/// ```
/// # use embed_core::{EmbedResponse, Error, ErrorKind, ModelInfo, RowInfo, Space, Variant};
/// # let variant = Variant::new(Space::builder("m", 2).build(), [("v", "1")]);
/// # let model = ModelInfo::builder("test", "m", variant).build();
/// # let mut response = EmbedResponse::builder(2, 2);
/// # response.put(0, &[0.6, 0.8], RowInfo::new(model));
/// # response.fail(1, Error::new(ErrorKind::InvalidInput, "the text is empty"));
/// # let response = response.build();
/// for (index, row) in response.into_iter().enumerate() {
///     match row {
///         Ok(row) => println!("{index}: {} numbers in {}", row.len(), row.space()),
///         Err(error) => println!("{index}: {error}"),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct EmbedResponse {
    values: Vec<f32>,
    /// Responses that hold the numbers of shared rows.
    shared: Vec<Arc<Self>>,
    rows: Vec<Result<StoredRow>>,
    /// How many rows are errors.
    failed: usize,
}

/// Where a row's numbers are, and its info.
#[derive(Debug, Clone)]
struct StoredRow {
    owner: BufferOwner,
    start: usize,
    info: RowInfo,
}

/// The response that holds a row's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BufferOwner {
    This,
    Shared(usize),
}

/// The rows of a response, borrowed from it: [`EmbedResponse::rows`].
#[derive(Debug, Clone)]
pub struct Rows<'a> {
    response: &'a EmbedResponse,
    left: Range<usize>,
}

/// The rows of a response as owned vectors: copies of what [`Rows`] borrows.
#[derive(Debug)]
pub struct IntoRows {
    response: EmbedResponse,
    left: Range<usize>,
}

/// Builds an [`EmbedResponse`]; rows may be set in any order.
#[derive(Debug)]
pub struct ResponseBuilder {
    values: Vec<f32>,
    shared: Vec<Arc<EmbedResponse>>,
    rows: Vec<Option<Result<StoredRow>>>,
}

impl EmbedResponse {
    /// A builder for a response of `rows` rows, with memory reserved for vectors of this dimension. Rows of other models
    /// may have more or fewer numbers.
    ///
    /// # Panics
    ///
    /// If so many rows don't fit in memory, as `vec![x; rows]` does. No `dimension` makes it panic.
    #[must_use]
    pub fn builder(rows: usize, dimension: usize) -> ResponseBuilder {
        let mut values = Vec::new();
        // If this fails, the buffer grows with the rows, each of which is checked against its model.
        let _ = values.try_reserve_exact(rows.saturating_mul(dimension));
        ResponseBuilder { values, shared: Vec::new(), rows: vec![None; rows] }
    }

    /// The number of rows, which is that of the texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether the request had no texts.
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
        let values = match slot.owner {
            BufferOwner::This => &self.values,
            BufferOwner::Shared(at) => &self.shared[at].values,
        };
        let vector = &values[slot.start..slot.start + slot.info.model.dimension()];
        Ok(EmbeddingRef::new(vector, &slot.info))
    }

    /// The rows, in the order of the request.
    #[must_use]
    pub fn rows(&self) -> Rows<'_> {
        Rows { response: self, left: 0..self.len() }
    }

    /// The number of failed rows, counted when the response was built.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// The failed rows, with their indices. If there are none, the rows aren't scanned.
    pub fn errors(&self) -> impl Iterator<Item = (usize, &Error)> {
        let rows = if self.failed == 0 { &[][..] } else { &self.rows[..] };
        rows.iter().enumerate().filter_map(|(index, row)| Some((index, row.as_ref().err()?)))
    }

    /// The space of all vectors; `None` if there are none, or if they are of several spaces.
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

    /// Sets the route on every row: in the [`RowInfo`] of a vector, in the context of an error. No vector is
    /// copied.
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

    /// All vectors, row after row, and their dimension.
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
            Error::new(ErrorKind::SpaceMismatch, "rows of several spaces can't be one matrix")
        })?;
        let mut slots = this.rows.iter().flatten().enumerate();
        let in_order = slots.all(|(i, slot)| slot.owner == BufferOwner::This && slot.start == i * dimension);
        if in_order && this.values.len() == this.len() * dimension {
            return Ok((this.values, dimension));
        }
        let values = this.rows().flatten().flat_map(|row| row.vector().iter().copied()).collect();
        Ok((values, dimension))
    }

    /// The vector of a request with one text.
    ///
    /// # Errors
    ///
    /// The row's error; [`ErrorKind::Protocol`] if there isn't exactly one row.
    pub fn into_single(self) -> Result<Embedding> {
        if self.len() != 1 {
            return Err(Error::new(ErrorKind::Protocol, "the answer to one text isn't exactly one row")
                .with_context("rows", self.len()));
        }
        self.row(0).map(|row| row.to_embedding()).map_err(Clone::clone)
    }
}

impl ResponseBuilder {
    /// Sets the row at `index`. The vector is checked: if it isn't a valid vector of the model, the row is an error.
    ///
    /// # Panics
    ///
    /// If there is no such row, as indexing a slice does.
    pub fn put(&mut self, index: usize, values: &[f32], info: RowInfo) {
        self.rows[index] = Some(vector::check(values, info.model.dimension()).map(|()| {
            let start = self.values.len();
            self.values.extend_from_slice(values);
            StoredRow { owner: BufferOwner::This, start, info }
        }));
    }

    /// Sets the row at `index` to the vector that `fill` writes into a slice of zeros in the response's buffer. This saves
    /// a copy if the numbers don't come from a slice.
    ///
    /// # Errors
    ///
    /// If it isn't a valid vector of the model, or if its dimension doesn't fit in memory. The row is then unchanged.
    ///
    /// # Panics
    ///
    /// If there is no such row, as indexing a slice does.
    pub fn put_with(&mut self, index: usize, info: RowInfo, fill: impl FnOnce(&mut [f32])) -> Result<()> {
        let start = self.values.len();
        let dimension = info.model.dimension();
        self.values.try_reserve(dimension).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, "a vector of that dimension doesn't fit in memory")
                .with_context("dimension", dimension)
                .with_source(error)
        })?;
        self.values.resize(start + dimension, 0.0);
        let vector = &mut self.values[start..];
        fill(vector);
        if let Err(error) = vector::check(vector, dimension) {
            self.values.truncate(start);
            return Err(error);
        }
        self.rows[index] = Some(Ok(StoredRow { owner: BufferOwner::This, start, info }));
        Ok(())
    }

    /// Sets the error of the row at `index`.
    ///
    /// # Panics
    ///
    /// If there is no such row, as indexing a slice does.
    pub fn fail(&mut self, index: usize, error: Error) {
        self.rows[index] = Some(Err(error));
    }

    /// Sets the row at `index` to a row of another response. Its numbers are shared, not copied: they live as long as
    /// either response.
    ///
    /// # Panics
    ///
    /// If one of the responses has no such row, as indexing a slice does.
    pub fn share_row(&mut self, index: usize, other: &Arc<EmbedResponse>, row: usize) {
        self.rows[index] = Some(other.rows[row].clone().map(|slot| {
            // A row that is shared itself has its numbers in a third response.
            let owner = match slot.owner {
                BufferOwner::This => other,
                BufferOwner::Shared(at) => &other.shared[at],
            };
            // Consecutive rows are mostly of the same response.
            let known = self.shared.iter().rposition(|shared| Arc::ptr_eq(shared, owner));
            let at = known.unwrap_or_else(|| {
                self.shared.push(Arc::clone(owner));
                self.shared.len() - 1
            });
            StoredRow { owner: BufferOwner::Shared(at), ..slot }
        }));
    }

    /// Sets the row at `index` to a copy of a row of another response.
    ///
    /// # Panics
    ///
    /// If there is no such row, as indexing a slice does.
    pub fn put_row(&mut self, index: usize, row: Result<EmbeddingRef<'_>, &Error>) {
        match row {
            Ok(row) => self.put(index, row.vector(), row.info().clone()),
            Err(error) => self.fail(index, error.clone()),
        }
    }

    /// Builds the response. A row that was never set is an error of kind [`ErrorKind::Internal`], so that a missing
    /// row can't shift the others.
    #[must_use]
    pub fn build(self) -> EmbedResponse {
        let forgotten = || Err(Error::new(ErrorKind::Internal, "the service returned nothing for this row"));
        let mut failed = 0;
        let row = |row: Option<Result<StoredRow>>| {
            let row = row.unwrap_or_else(forgotten);
            failed += usize::from(row.is_err());
            row
        };
        let rows = self.rows.into_iter().map(row).collect();
        EmbedResponse { values: self.values, shared: self.shared, rows, failed }
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<EmbeddingRef<'a>, &'a Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left.next().map(|index| self.response.row(index))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl ExactSizeIterator for Rows<'_> {}

impl Iterator for IntoRows {
    type Item = Result<Embedding>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.response.row(self.left.next()?);
        Some(row.map(|row| row.to_embedding()).map_err(Clone::clone))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl ExactSizeIterator for IntoRows {}

impl<'a> IntoIterator for &'a EmbedResponse {
    type Item = Result<EmbeddingRef<'a>, &'a Error>;
    type IntoIter = Rows<'a>;

    fn into_iter(self) -> Rows<'a> {
        self.rows()
    }
}

/// Copies each vector; iterate over `&response` if borrowed rows will do.
impl IntoIterator for EmbedResponse {
    type Item = Result<Embedding>;
    type IntoIter = IntoRows;

    fn into_iter(self) -> IntoRows {
        IntoRows { left: 0..self.len(), response: self }
    }
}

/// Shows shape and space, not the numbers.
impl fmt::Debug for EmbedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbedResponse")
            .field("rows", &self.len())
            .field("failed", &self.failed)
            .field("space", &self.space())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ModelInfo, Variant};

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
    fn no_width_makes_a_builder_panic() {
        for rows in [0, 3] {
            assert_eq!(EmbedResponse::builder(rows, usize::MAX).build().len(), rows);
            assert_eq!(EmbedResponse::builder(rows, usize::MAX / 3).build().len(), rows);
        }
        let mut builder = EmbedResponse::builder(1, 2);
        let wide = RowInfo::new(model("a", usize::MAX));
        assert_eq!(builder.put_with(0, wide, |_| ()).unwrap_err().kind(), ErrorKind::InvalidInput);
        builder.put(0, &[1.0, 0.0], RowInfo::new(model("a", 2)));
        assert_eq!(builder.build().row(0).unwrap().vector(), [1.0, 0.0]);
    }

    #[test]
    fn a_response_is_iterated_by_reference_and_by_value() {
        let mut builder = EmbedResponse::builder(3, 2);
        builder.put(0, &[0.6, 0.8], RowInfo::new(model("a", 2)));
        builder.fail(1, Error::new(ErrorKind::Timeout, "too slow"));
        builder.put(2, &[0.0, 1.0], RowInfo::new(model("b", 2)));
        let response = builder.build();
        assert_eq!(response.rows().len(), 3);
        let mut lent = Vec::new();
        for row in &response {
            lent.push(row.map(|row| row.to_embedding()).map_err(Error::kind));
        }
        assert_eq!(lent[1], Err(ErrorKind::Timeout));
        let mut taken = Vec::new();
        for row in response {
            taken.push(row.map_err(|error| error.kind()));
        }
        assert_eq!(taken, lent);
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
    fn shared_rows_are_those_of_the_response_that_made_them() {
        let mut builder = EmbedResponse::builder(3, 2);
        builder.put(0, &[0.6, 0.8], RowInfo::new(model("a", 2)));
        builder.fail(1, Error::new(ErrorKind::Timeout, "too slow"));
        builder.put(2, &[0.0, 1.0], RowInfo::new(model("b", 2)));
        let made = Arc::new(builder.build());
        let mut builder = EmbedResponse::builder(4, 2);
        builder.share_row(0, &made, 2);
        builder.share_row(1, &made, 1);
        builder.put(2, &[1.0, 0.0], RowInfo::new(model("a", 2)));
        builder.share_row(3, &made, 0);
        let mixed = Arc::new(builder.build().with_route(&"e5".into()));
        assert!(std::ptr::eq(mixed.row(0).unwrap().vector(), made.row(2).unwrap().vector()));
        assert_eq!((mixed.failed(), mixed.row(2).unwrap().vector()), (1, &[1.0, 0.0][..]));
        let mut builder = EmbedResponse::builder(2, 2);
        builder.share_row(0, &mixed, 3);
        builder.share_row(1, &mixed, 2);
        drop(mixed);
        let again = builder.build();
        assert!(std::ptr::eq(again.row(0).unwrap().vector(), made.row(0).unwrap().vector()));
        assert_eq!(again.row(0).unwrap().info().route.as_deref(), Some("e5"));
        assert_eq!(again.into_matrix().unwrap(), (vec![0.6, 0.8, 1.0, 0.0], 2));
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
        /// Rows that are set in any order come out in the order of the request.
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
