//! The operators: each reads attributes and values, calls a kernel, and writes values.

use std::cell::RefCell;

use embed_kernels::{AddNorm, Attention, HeadScratch, NormOutput, Outliers, Processor};
use ort::operator::{BoxedKernel, ComputeContext, KernelContext, Operator, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::{Float32, Int64, Uint8};
use ort::{Error, Result};

use super::names::{
    ADD_NORM, ATTENTION, EPSILON, FACTORS, GELU, HEADS, NORM_BIAS, NORM_SCALE, OUTLIERS_BIAS, OUTLIERS_INTO,
    OUTLIERS_OUT, TEXT_MEAN, UNPACK_ROWS, WIDTH,
};
use super::values::{
    ProductInputs, RowsOutputs, each, floats, input, lengths, linear, name_for, product_inputs,
    quantised_outputs, rows_of_a_thread,
};
use crate::preempt;

thread_local! {
    /// The scratch memory of attention for one head. All nodes of all models share the one of their thread; a text of 512
    /// tokens bounds its size.
    static SCRATCH: RefCell<HeadScratch> = RefCell::default();
    /// The contexts of all heads of a text, on the thread that runs the model.
    static CONTEXTS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A kernel.
fn kernel<'k>(compute: impl FnMut(&ComputeContext) -> Result<()> + Send + 'k) -> BoxedKernel<'k> {
    Box::new(compute)
}

/// See [`UNPACK_ROWS`].
pub(super) struct UnpackRows;

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
        let processor = Processor::detect();
        Ok(kernel(move |context| {
            let (ids, table) = (input(context, 0)?, input(context, 1)?);
            let (_, ids) = ids.try_extract_tensor::<i64>()?;
            let (_, table) = table.try_extract_tensor::<u8>()?;
            let Some(mut rows) = context.output(0, [ids.len(), width])? else { return Ok(()) };
            let (_, rows) = rows.try_extract_tensor_mut::<f32>()?;
            embed_kernels::unpack(processor, table, ids, width, rows).map_err(Error::wrap)
        }))
    }
}

/// An operator that reads a product: see [`ADD_NORM`], [`ATTENTION`] and [`GELU`].
pub(super) struct ProductOperator {
    reader: ProductReader,
    /// Whether the product is one of 8-bit numbers.
    integer: bool,
    name: String,
    threads: usize,
}

/// What an operator makes of a product.
#[derive(Debug, Clone, Copy)]
pub(super) enum ProductReader {
    AddNorm,
    Attention,
    Gelu,
}

impl ProductOperator {
    pub(super) fn new(reader: ProductReader, integer: bool, threads: usize) -> Self {
        let name = match reader {
            ProductReader::AddNorm => ADD_NORM,
            ProductReader::Attention => ATTENTION,
            ProductReader::Gelu => GELU,
        };
        Self { reader, integer, name: name_for(name, integer), threads }
    }

    fn add_norm<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<BoxedKernel<'attr>> {
        let (integer, threads) = (self.integer, self.threads);
        let linear = linear(attributes, integer)?;
        let norm = norm(attributes)?;
        let (width, processor) = (norm.width(), Processor::detect());
        Ok(kernel(move |context| {
            let (inputs, next) = ProductInputs::read(context, integer)?;
            let product = inputs.product(&linear)?;
            let residual = input(context, next)?;
            let (_, residual) = residual.try_extract_tensor::<f32>()?;
            let rows = product.count();
            if linear.width() != width || residual.len() != rows * width {
                return Err(Error::new(
                    "a product, its residual and the normalisation are of different sizes",
                ));
            }
            let Some(mut state) = context.output(0, [rows, width])? else { return Ok(()) };
            let (_, state) = state.try_extract_tensor_mut::<f32>()?;
            let mut sum = context.output(1, [rows, width])?;
            let sum = match &mut sum {
                Some(sum) => sum.try_extract_tensor_mut::<f32>()?.1,
                None => &mut [],
            };
            let mut quantised = RowsOutputs::quantised_only(context, 2, rows, width)?;
            let count = rows_of_a_thread(rows, threads);
            let mut quantised = quantised.quantised()?.map(|rows| rows.pieces(count));
            let mut sums = sum.chunks_mut(count * width);
            let pieces = state.chunks_mut(count * width).enumerate().map(|(piece, state)| {
                let quantised = quantised.as_mut().and_then(Iterator::next);
                (piece * count, NormOutput { state, sum: sums.next().unwrap_or_default(), quantised })
            });
            each(context, pieces.collect(), |(first, out)| {
                norm.run(processor, (product, first), &residual[first * width..], out);
            })
        }))
    }

    fn attention<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<BoxedKernel<'attr>> {
        let (integer, threads) = (self.integer, self.threads);
        let linear = linear(attributes, integer)?;
        let heads = size(attributes, HEADS)?;
        let hidden = linear.width() / 3;
        if heads == 0 || hidden * 3 != linear.width() || !hidden.is_multiple_of(heads) {
            return Err(Error::new("queries, keys and values can't be cut into so many heads"));
        }
        let attention = Attention::new(Processor::detect(), heads, hidden / heads).map_err(Error::wrap)?;
        Ok(kernel(move |context| {
            let (inputs, next) = ProductInputs::read(context, integer)?;
            preempt::point();
            let product = inputs.product(&linear)?;
            let lengths = lengths(&input(context, next)?, product.count())?;
            let mut out = RowsOutputs::new(context, 0, product.count(), hidden)?;
            let mut rest = Some(out.rows()?);
            let mut first = 0;
            let mut contexts = CONTEXTS.take();
            for tokens in lengths {
                contexts.resize(tokens * hidden, 0.0);
                let heads = heads_of_a_thread(heads, tokens, threads);
                let width = tokens * attention.head_width();
                let pieces = contexts.chunks_mut(heads * width).enumerate();
                each(context, pieces.collect(), |(piece, contexts)| {
                    let first_head = piece * heads;
                    let of_piece = first_head..first_head + contexts.len() / width;
                    SCRATCH.with_borrow_mut(|scratch| {
                        attention.heads((product, first), of_piece, scratch, contexts);
                    });
                })?;
                let Some((of_text, behind)) = rest.take().map(|rest| rest.split(tokens, hidden)) else {
                    break;
                };
                rest = Some(behind);
                attention.rows(&contexts, of_text);
                first += tokens;
            }
            CONTEXTS.set(contexts);
            Ok(())
        }))
    }

    fn gelu<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<BoxedKernel<'attr>> {
        let (integer, threads) = (self.integer, self.threads);
        let linear = linear(attributes, integer)?;
        let processor = Processor::detect();
        Ok(kernel(move |context| {
            let (inputs, _) = ProductInputs::read(context, integer)?;
            preempt::point();
            let product = inputs.product(&linear)?;
            let mut out = RowsOutputs::new(context, 0, product.count(), product.width())?;
            let count = rows_of_a_thread(product.count(), threads);
            let pieces = out.rows()?.pieces(count, product.width()).into_iter().enumerate();
            each(context, pieces.collect(), |(piece, out)| {
                embed_kernels::gelu(processor, (product, piece * count), out);
            })
        }))
    }
}

impl Operator for ProductOperator {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        &self.name
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let further = match self.reader {
            ProductReader::AddNorm => Some(OperatorInput::required(Float32)),
            ProductReader::Attention => Some(OperatorInput::required(Int64)),
            ProductReader::Gelu => None,
        };
        product_inputs(self.integer).into_iter().chain(further)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        let optional = OperatorOutput::optional(Float32);
        let rows = match self.reader {
            ProductReader::AddNorm => vec![OperatorOutput::required(Float32), optional],
            ProductReader::Attention | ProductReader::Gelu => vec![optional],
        };
        rows.into_iter().chain(quantised_outputs())
    }

    fn create_kernel<'attr>(&self, attributes: &KernelContext<'attr>) -> Result<BoxedKernel<'attr>> {
        match self.reader {
            ProductReader::AddNorm => self.add_norm(attributes),
            ProductReader::Attention => self.attention(attributes),
            ProductReader::Gelu => self.gelu(attributes),
        }
    }
}

/// The constants of a normalisation.
fn norm(attributes: &KernelContext<'_>) -> Result<AddNorm> {
    let epsilon = attributes.get(EPSILON).ok_or_else(|| Error::new("the attribute epsilon is missing"))?;
    let (scale, bias) = (floats(attributes, NORM_SCALE)?, floats(attributes, NORM_BIAS)?);
    let mut norm = AddNorm::new(&scale, &bias, epsilon).map_err(Error::wrap)?;
    if let Some(factors) = attributes.get::<Vec<f32>>(FACTORS) {
        norm = norm.with_factors(&factors).map_err(Error::wrap)?;
    }
    if let Some(into) = attributes.get::<Vec<f32>>(OUTLIERS_INTO) {
        let (bias, out) = (floats(attributes, OUTLIERS_BIAS)?, floats(attributes, OUTLIERS_OUT)?);
        let outliers = Outliers::new(&into, &bias, &out).map_err(Error::wrap)?;
        norm = norm.with_outliers(outliers).map_err(Error::wrap)?;
    }
    Ok(norm)
}

/// How many heads a thread takes: all of them if the text is too short for more threads.
fn heads_of_a_thread(heads: usize, tokens: usize, threads: usize) -> usize {
    const LEAST_TOKENS: usize = 8;
    if tokens < LEAST_TOKENS { heads } else { heads.div_ceil(threads) }
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
        let processor = Processor::detect();
        Ok(kernel(move |context| {
            let states = input(context, 0)?;
            let (_, states) = states.try_extract_tensor::<f32>()?;
            if !states.len().is_multiple_of(width) {
                return Err(Error::new("the states aren't whole rows"));
            }
            let lengths = lengths(&input(context, 1)?, states.len() / width)?;
            let Some(mut means) = context.output(0, [lengths.len(), width])? else { return Ok(()) };
            let (_, means) = means.try_extract_tensor_mut::<f32>()?;
            embed_kernels::mean(processor, states, &lengths, width, means);
            Ok(())
        }))
    }
}

/// A size that must be there.
fn size(attributes: &KernelContext<'_>, name: &str) -> Result<usize> {
    let value: Option<i64> = attributes.get(name);
    let size = value.and_then(|value| usize::try_from(value).ok()).filter(|&size| size > 0);
    size.ok_or_else(|| Error::new(format!("the attribute {name} is missing or no size")))
}
