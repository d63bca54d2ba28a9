//! The inputs of a model.

use embed_core::{Error, ErrorKind};

use crate::assets::{LENGTHS, POSITIONS};

/// An input of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ModelInput {
    Ids,
    /// The position of each token in its text.
    Positions,
    /// The number of tokens of each text.
    Lengths,
    /// Ones, since nothing is padded.
    Mask,
    /// Zeros, since there is one segment.
    Types,
}

/// The inputs of a model, in its order.
///
/// # Errors
///
/// [`ErrorKind::Config`] for an unknown input, and for positions in a graph that this project didn't write: some families
/// count them from 0, XLM-RoBERTa from 2, and wrong ones would silently give wrong vectors.
pub(super) fn known_inputs<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<ModelInput>, Error> {
    let input = |name| match name {
        "input_ids" => Ok(ModelInput::Ids),
        POSITIONS => Ok(ModelInput::Positions),
        LENGTHS => Ok(ModelInput::Lengths),
        "attention_mask" => Ok(ModelInput::Mask),
        "token_type_ids" => Ok(ModelInput::Types),
        other => Err(Error::new(
            ErrorKind::Config,
            "the model has an input that encoders don't have; export it anew",
        )
        .with_context("input", other)),
    };
    let inputs: Vec<_> = names.map(input).collect::<Result<_, _>>()?;
    if inputs.contains(&ModelInput::Positions) && !inputs.contains(&ModelInput::Lengths) {
        return Err(Error::new(
            ErrorKind::Config,
            "the model wants positions and doesn't say from which number they count; export it without that input",
        )
        .with_context("input", POSITIONS));
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_fed_to_graphs_of_this_project_alone() {
        let known = |names: &[&str]| known_inputs(names.iter().copied());
        assert_eq!(
            known(&["input_ids", POSITIONS, LENGTHS]).unwrap(),
            [ModelInput::Ids, ModelInput::Positions, ModelInput::Lengths]
        );
        assert_eq!(known(&["attention_mask", "input_ids"]).unwrap(), [ModelInput::Mask, ModelInput::Ids]);
        for names in [&["input_ids", "attention_mask", "position_ids"][..], &["input_ids", "pixel_values"]] {
            let error = known(names).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(names[names.len() - 1]), "{error}");
        }
    }
}
