//! The vectors of a collection that are nearest to a query.

use std::cmp::Ordering;

use crate::{Embedding, EmbeddingRef, Error, Result};

/// What [`top_k`] takes as a document: an [`Embedding`], a row, or a row that may have failed, as
/// `&`[`EmbedResponse`](crate::EmbedResponse) yields them.
pub trait Candidate<'a> {
    /// The vector; `None` for a row that failed.
    fn vector(self) -> Option<EmbeddingRef<'a>>;
}

impl<'a> Candidate<'a> for EmbeddingRef<'a> {
    fn vector(self) -> Option<Self> {
        Some(self)
    }
}

impl<'a> Candidate<'a> for &EmbeddingRef<'a> {
    fn vector(self) -> Option<EmbeddingRef<'a>> {
        Some(*self)
    }
}

impl<'a> Candidate<'a> for &'a Embedding {
    fn vector(self) -> Option<EmbeddingRef<'a>> {
        Some(self.as_view())
    }
}

impl<'a> Candidate<'a> for Result<EmbeddingRef<'a>, &Error> {
    fn vector(self) -> Option<EmbeddingRef<'a>> {
        self.ok()
    }
}

/// The `k` documents with the greatest cosine similarity to a query, best first: the index of each among `documents`, and
/// the similarity. Of equal ones the earlier comes first. There are fewer than `k` if there are fewer documents; rows that
/// failed count as positions and are never among the results.
///
/// Every document is compared, so the result is exact and always the same; the best are selected without sorting the rest.
///
/// ```
/// # use embed_core::{EmbedResponse, Error, ErrorKind, ModelInfo, Result, RowInfo, Space, Variant, top_k};
/// # let variant = Variant::new(Space::builder("m", 2).build(), [("v", "1")]);
/// # let model = ModelInfo::builder("test", "m", variant).build();
/// # let mut documents = EmbedResponse::builder(4, 2);
/// # documents.put(0, &[1.0, 0.0], RowInfo::new(model.clone()));
/// # documents.fail(1, Error::new(ErrorKind::InvalidInput, "the text is empty"));
/// # documents.put(2, &[0.6, 0.8], RowInfo::new(model.clone()));
/// # documents.put(3, &[0.0, 1.0], RowInfo::new(model));
/// # let documents = documents.build();
/// # let query = documents.row(2).unwrap().to_embedding();
/// for (index, score) in top_k(&query, &documents, 2)? {
///     println!("{score:.3} document {index}");
/// }
/// # assert_eq!(top_k(&query, &documents, 2)?, [(2, 1.0), (3, 0.8)]);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
///
/// [`ErrorKind::SpaceMismatch`](crate::ErrorKind::SpaceMismatch) if a document is of another space than the query; its index
/// is in the context.
pub fn top_k<'q, 'd, D>(
    query: impl Into<EmbeddingRef<'q>>,
    documents: D,
    k: usize,
) -> Result<Vec<(usize, f32)>>
where
    D: IntoIterator<Item: Candidate<'d>>,
{
    let query = query.into();
    let vectors = documents.into_iter().enumerate();
    let vectors = vectors.filter_map(|(index, document)| Some((index, document.vector()?)));
    let score = |(index, vector)| match query.similarity(vector) {
        Ok(score) => Ok((index, score)),
        Err(error) => Err(error.with_context("document", index)),
    };
    let mut scored = vectors.map(score).collect::<Result<Vec<_>>>()?;
    if k < scored.len() {
        scored.select_nth_unstable_by(k, better);
        scored.truncate(k);
    }
    scored.sort_unstable_by(better);
    Ok(scored)
}

/// The order of results. No similarity is NaN, since the numbers of a vector are finite; 0 equals -0.
fn better(left: &(usize, f32), right: &(usize, f32)) -> Ordering {
    right.1.partial_cmp(&left.1).unwrap_or(Ordering::Equal).then(left.0.cmp(&right.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{EmbedResponse, ErrorKind, ModelInfo, RowInfo, Space, Variant};

    fn info(space: &str) -> RowInfo {
        let variant = Variant::new(Space::builder(space, 2).build(), [("v", "1")]);
        RowInfo::new(ModelInfo::builder("test", space, variant).build())
    }

    fn rows(vectors: &[[f32; 2]]) -> EmbedResponse {
        let mut builder = EmbedResponse::builder(vectors.len(), 2);
        for (index, vector) in vectors.iter().enumerate() {
            builder.put(index, vector, info("a"));
        }
        builder.build()
    }

    #[test]
    fn a_vector_of_another_space_is_refused_wherever_it_stands() {
        let mut builder = EmbedResponse::builder(3, 2);
        builder.put(0, &[1.0, 0.0], info("a"));
        builder.put(1, &[0.0, 1.0], info("a"));
        builder.put(2, &[0.0, 1.0], info("b"));
        let documents = builder.build();
        let query = documents.row(0).unwrap();
        for k in [0, 1, 3] {
            let error = top_k(query, &documents, k).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::SpaceMismatch);
            assert!(error.to_string().contains("document: 2"), "{error}");
        }
    }

    #[test]
    fn documents_are_owned_borrowed_or_rows() {
        let response = rows(&[[0.0, 1.0], [1.0, 0.0]]);
        let query = response.row(1).unwrap();
        let expected = [(1, 1.0), (0, 0.0)];
        let borrowed: Vec<_> = response.rows().flatten().collect();
        let owned: Vec<_> = borrowed.iter().map(EmbeddingRef::to_embedding).collect();
        assert_eq!(top_k(query, &response, 2).unwrap(), expected);
        assert_eq!(top_k(&owned[1], &owned, 2).unwrap(), expected);
        assert_eq!(top_k(query, &borrowed, 2).unwrap(), expected);
        assert_eq!(top_k(query, borrowed, 9).unwrap(), expected);
        assert_eq!(top_k(query, &[] as &[Embedding], 9).unwrap(), []);
    }

    proptest! {
        /// Few directions, so that there are many ties, and lengths beside which squares of `f32` would under- or overflow.
        #[test]
        fn the_best_are_those_of_a_full_sort(
            directions in prop::collection::vec((-2_i8..=2, -2_i8..=2, prop::sample::select(vec![1e-38_f32, 1.0, 1e38])), 1..60),
            failed in prop::collection::vec(any::<bool>(), 60),
            query in any::<prop::sample::Index>(),
            k in 0_usize..70,
        ) {
            let vectors: Vec<[f32; 2]> = directions
                .iter()
                .filter(|(x, y, _)| (*x, *y) != (0, 0))
                .map(|(x, y, length)| [f32::from(*x) * length, f32::from(*y) * length])
                .collect();
            prop_assume!(!vectors.is_empty());
            let whole = rows(&vectors);
            let query = whole.row(query.index(vectors.len())).unwrap();
            let mut builder = EmbedResponse::builder(vectors.len(), 2);
            for (index, vector) in vectors.iter().enumerate() {
                match failed[index] {
                    true => builder.fail(index, Error::new(ErrorKind::InvalidInput, "the text is empty")),
                    false => builder.put(index, vector, info("a")),
                }
            }
            let documents = builder.build();

            let mut sorted = Vec::new();
            for (index, row) in documents.rows().enumerate() {
                if let Ok(row) = row {
                    sorted.push((index, query.similarity(row).unwrap()));
                }
            }
            // Stable, so that ties stay in the order of their indices.
            sorted.sort_by(|left, right| right.1.partial_cmp(&left.1).unwrap());
            sorted.truncate(k);
            prop_assert_eq!(top_k(query, &documents, k).unwrap(), sorted);
        }
    }
}
