//! The outputs of a model, pooled.

use embed_core::{Error, ErrorKind, Pooling};

/// The output of the graphs that this project writes: one vector for each text.
const POOLED: &str = "pooled";
/// The output of the usual exports: the state of each token.
const STATES: &str = "last_hidden_state";

/// The output of a model that is read.
///
/// # Errors
///
/// [`ErrorKind::Config`] if it has no known one. The first output may be anything, such as `pooler_output`.
pub(super) fn known_output<'a>(
    outputs: impl Iterator<Item = &'a str> + Clone,
) -> Result<&'static str, Error> {
    let known = [POOLED, STATES].into_iter().find(|known| outputs.clone().any(|output| output == *known));
    known.ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            "the model has neither an output `pooled` nor `last_hidden_state`; export the network without its head",
        )
        .with_context("outputs", outputs.collect::<Vec<_>>().join(", "))
    })
}

/// The vector of each text, from either form of output.
pub(super) fn pooled(
    dims: &[i64],
    values: &[f32],
    [texts, tokens]: [usize; 2],
    (dimension, pooling): (usize, Pooling),
) -> Result<Vec<Vec<f32>>, Error> {
    let sizes: Vec<_> = dims.iter().filter_map(|&size| usize::try_from(size).ok()).collect();
    if sizes == [texts, dimension] {
        return Ok(values.chunks_exact(dimension).map(<[f32]>::to_vec).collect());
    }
    if sizes == [texts, tokens, dimension] {
        let pool = |states: &[f32]| {
            if pooling == Pooling::Cls {
                return states[..dimension].to_vec();
            }
            let mut mean = vec![0.0; dimension];
            for state in states.chunks_exact(dimension) {
                for (sum, value) in mean.iter_mut().zip(state) {
                    *sum += value / tokens as f32;
                }
            }
            mean
        };
        return Ok(values.chunks_exact(tokens * dimension).map(pool).collect());
    }
    Err(Error::new(ErrorKind::DimensionMismatch, "the model gives another shape than its profile")
        .with_context("expected width", dimension)
        .with_context("got", format!("{dims:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_is_known_by_its_name_and_not_by_its_place() {
        let known = |outputs: &[&str]| known_output(outputs.iter().copied());
        assert_eq!(known(&["pooler_output", "last_hidden_state"]).unwrap(), "last_hidden_state");
        assert_eq!(known(&["pooled"]).unwrap(), "pooled");
        let error = known(&["pooler_output", "logits"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("pooler_output, logits"), "{error}");
    }

    #[test]
    fn states_of_tokens_are_pooled_and_vectors_are_taken_as_they_are() {
        let states = [1.0, 2.0, 3.0, 6.0];
        assert_eq!(pooled(&[1, 2, 2], &states, [1, 2], (2, Pooling::Mean)).unwrap(), [[2.0, 4.0]]);
        assert_eq!(pooled(&[2, 2], &states, [2, 7], (2, Pooling::Mean)).unwrap(), [[1.0, 2.0], [3.0, 6.0]]);
        assert_eq!(pooled(&[1, 2, 2], &states, [1, 2], (2, Pooling::Cls)).unwrap(), [[1.0, 2.0]]);
        let error = pooled(&[1, 2, 2], &states, [1, 2], (3, Pooling::Mean)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DimensionMismatch);
    }
}
