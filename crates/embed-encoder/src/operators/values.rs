//! Conversions between the values of ONNX Runtime and what kernels take.

use ort::operator::{ComputeContext, KernelContext};
use ort::value::ValueRef;
use ort::{Error, Result};

/// Values of an attribute that must be there.
pub(super) fn floats(attributes: &KernelContext<'_>, name: &str) -> Result<Vec<f32>> {
    attributes.get(name).ok_or_else(|| Error::new(format!("the attribute {name} is missing")))
}

/// A size that must be there.
pub(super) fn size(attributes: &KernelContext<'_>, name: &str) -> Result<usize> {
    let value: Option<i64> = attributes.get(name);
    let size = value.and_then(|value| usize::try_from(value).ok()).filter(|&size| size > 0);
    size.ok_or_else(|| Error::new(format!("the attribute {name} is missing or no size")))
}

/// An input that must be there.
pub(super) fn input(context: &ComputeContext, index: usize) -> Result<ValueRef<'_>> {
    context.input(index)?.ok_or_else(|| Error::new(format!("the input {index} is missing")))
}

/// How many tokens each text has: at least one, and in total as many as there are rows of this width in `states`.
pub(super) fn lengths(value: &ValueRef<'_>, states: &[f32], width: usize) -> Result<Vec<usize>> {
    let (_, lengths) = value.try_extract_tensor::<i64>()?;
    let lengths: Vec<_> =
        lengths.iter().map(|&length| usize::try_from(length).map_err(Error::wrap)).collect::<Result<_>>()?;
    let rows = lengths.iter().try_fold(0_usize, |rows, &length| rows.checked_add(length));
    if lengths.contains(&0) || rows.and_then(|rows| rows.checked_mul(width)) != Some(states.len()) {
        return Err(Error::new("the texts have another number of tokens than there are rows"));
    }
    Ok(lengths)
}
