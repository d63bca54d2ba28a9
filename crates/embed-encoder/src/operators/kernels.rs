//! The operators before and after the layers: each reads attributes and values, calls a kernel, and writes values.

use std::sync::Arc;

use embed_kernels::packed_bytes;
use ort::operator::{BoxedKernel, ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::{Float32, Int64, Uint8};
use ort::{Error, Result};

use super::names::{ADD_NORM, EPSILON, NORM_BIAS, NORM_SCALE, TEXT_MEAN, UNPACK_ROWS, WIDTH};
use super::table::WordTable;
use super::values::{floats, input, lengths, size};
use crate::kernels::processor;

/// A kernel.
pub(super) fn kernel<'k>(compute: impl FnMut(&ComputeContext) -> Result<()> + Send + 'k) -> BoxedKernel<'k> {
    Box::new(compute)
}

/// See [`UNPACK_ROWS`].
pub(super) struct UnpackRows {
    /// The file with the table; `None` to take it as ONNX Runtime has it.
    pub(super) table: Option<Arc<WordTable>>,
}

impl Operator for UnpackRows {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        UNPACK_ROWS
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Int64), OperatorInput::required(Uint8)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<BoxedKernel<'attr>> {
        let width = size(attributes, WIDTH)?;
        let row_bytes = packed_bytes(width).max(1);
        let processor = processor().map_err(Error::wrap)?;
        let of_file = self.table.clone();
        let mut packed = Vec::new();
        Ok(kernel(move |context| {
            let ids = input(context, 0)?;
            let (_, ids) = ids.try_extract_tensor::<i64>()?;
            let Some(mut rows) = context.output(0, [ids.len(), width])? else { return Ok(()) };
            let (_, rows) = rows.try_extract_tensor_mut::<f32>()?;
            packed.resize(ids.len() * row_bytes, 0);
            match &of_file {
                Some(table) => table.read(ids, row_bytes, &mut packed).map_err(Error::wrap)?,
                None => {
                    let table = input(context, 1)?;
                    let table = table.try_extract_tensor::<u8>()?.1.chunks_exact(row_bytes);
                    for (&id, packed) in ids.iter().zip(packed.chunks_exact_mut(row_bytes)) {
                        let row = usize::try_from(id).ok().and_then(|id| table.clone().nth(id));
                        packed.copy_from_slice(row.ok_or_else(|| Error::new("the table has no such row"))?);
                    }
                }
            }
            embed_kernels::unpack(processor, &packed, width, rows).map_err(Error::wrap)
        }))
    }
}

/// See [`ADD_NORM`].
pub(super) struct AddNorm;

impl Operator for AddNorm {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        ADD_NORM
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<BoxedKernel<'attr>> {
        let norm = norm(attributes, &floats(attributes, NORM_SCALE)?, &floats(attributes, NORM_BIAS)?)?;
        let processor = processor().map_err(Error::wrap)?;
        Ok(kernel(move |context| {
            let (rows, residual) = (input(context, 0)?, input(context, 1)?);
            let (shape, rows) = rows.try_extract_tensor::<f32>()?;
            let (_, residual) = residual.try_extract_tensor::<f32>()?;
            let Some(mut state) = context.output(0, shape.clone())? else { return Ok(()) };
            let (_, state) = state.try_extract_tensor_mut::<f32>()?;
            state.copy_from_slice(rows);
            norm.run(processor, residual, state).map_err(Error::wrap)
        }))
    }
}

/// A normalisation of these constants.
pub(super) fn norm(
    attributes: &KernelContext<'_>,
    scale: &[f32],
    bias: &[f32],
) -> Result<embed_kernels::AddNorm> {
    let epsilon = attributes.get(EPSILON).ok_or_else(|| Error::new("the attribute epsilon is missing"))?;
    embed_kernels::AddNorm::new(scale, bias, epsilon).map_err(Error::wrap)
}

/// See [`TEXT_MEAN`].
pub(super) struct TextMean;

impl Operator for TextMean {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        TEXT_MEAN
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::required(Int64)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<BoxedKernel<'attr>> {
        let width = size(attributes, WIDTH)?;
        let processor = processor().map_err(Error::wrap)?;
        Ok(kernel(move |context| {
            let states = input(context, 0)?;
            let (_, states) = states.try_extract_tensor::<f32>()?;
            let lengths = lengths(&input(context, 1)?, states, width)?;
            let Some(mut means) = context.output(0, [lengths.len(), width])? else { return Ok(()) };
            let (_, means) = means.try_extract_tensor_mut::<f32>()?;
            embed_kernels::mean(processor, states, &lengths, width, means);
            Ok(())
        }))
    }
}
