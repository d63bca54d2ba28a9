//! Conversions between the values of ONNX Runtime and the slices that kernels take.

use std::sync::{Mutex, OnceLock, PoisonError};

use embed_kernels::{IntegerProduct, Linear, Product, QuantisedRows, RowsOutput, SingleProduct};
use ort::operator::{ComputeContext, KernelContext, OperatorInput, OperatorOutput};
use ort::value::{TensorElementType, ValueRef, ValueRefMut};
use ort::{Error, Result};

use super::names::{BIAS, COLUMN_SCALES, COLUMN_SUMS, INTEGER};
use super::no_panic::no_panic;

/// The fewest rows that are worth another thread: few, since the threads of a session don't sleep between two operators.
const LEAST_ROWS: usize = 4;

/// The name of an operator for products of this kind.
pub(super) fn name_for(name: &str, integer: bool) -> String {
    format!("{name}{}", if integer { INTEGER } else { "" })
}

/// The inputs of a product.
pub(super) fn product_inputs(integer: bool) -> Vec<OperatorInput> {
    if integer {
        vec![
            OperatorInput::required(TensorElementType::Int32),
            OperatorInput::required(TensorElementType::Float32),
        ]
    } else {
        vec![OperatorInput::required(TensorElementType::Float32)]
    }
}

/// Rows in 8 bits and their scales, which a node may leave out.
pub(super) fn quantised_outputs() -> [OperatorOutput; 2] {
    [OperatorOutput::optional(TensorElementType::Uint8), OperatorOutput::optional(TensorElementType::Float32)]
}

/// Values of an attribute that must be there.
pub(super) fn floats(attributes: &KernelContext<'_>, name: &str) -> Result<Vec<f32>> {
    attributes.get(name).ok_or_else(|| Error::new(format!("the attribute {name} is missing")))
}

/// The constants of a product.
pub(super) fn linear(attributes: &KernelContext<'_>, integer: bool) -> Result<Linear> {
    let bias = floats(attributes, BIAS)?;
    let linear = if integer {
        Linear::integer(&bias, &floats(attributes, COLUMN_SCALES)?, &floats(attributes, COLUMN_SUMS)?)
    } else {
        Linear::single(&bias)
    };
    linear.map_err(Error::wrap)
}

/// An input that must be there.
pub(super) fn input(context: &ComputeContext, index: usize) -> Result<ValueRef<'_>> {
    context.input(index)?.ok_or_else(|| Error::new(format!("the input {index} is missing")))
}

/// How many tokens each text has: at least one, and in total as many as there are rows.
pub(super) fn lengths(value: &ValueRef<'_>, rows: usize) -> Result<Vec<usize>> {
    let (_, lengths) = value.try_extract_tensor::<i64>()?;
    let lengths: Vec<_> =
        lengths.iter().map(|&length| usize::try_from(length).map_err(Error::wrap)).collect::<Result<_>>()?;
    if lengths.contains(&0) || lengths.iter().sum::<usize>() != rows {
        return Err(Error::new("the texts have another number of tokens than there are rows"));
    }
    Ok(lengths)
}

/// The inputs of a product, held while a kernel reads them.
pub(super) struct ProductInputs<'c> {
    values: ValueRef<'c>,
    rows: Option<ValueRef<'c>>,
}

impl<'c> ProductInputs<'c> {
    /// The first inputs, and how many there are.
    pub(super) fn read(context: &'c ComputeContext, integer: bool) -> Result<(Self, usize)> {
        let rows = integer.then(|| input(context, 1)).transpose()?;
        let next = 1 + usize::from(integer);
        Ok((Self { values: input(context, 0)?, rows }, next))
    }

    pub(super) fn product<'a>(&'a self, linear: &'a Linear) -> Result<Product<'a>> {
        let product = match &self.rows {
            Some(rows) => {
                let (_, values) = self.values.try_extract_tensor::<i32>()?;
                let (_, rows) = rows.try_extract_tensor::<f32>()?;
                IntegerProduct::new(linear, values, rows).map(Product::Integer)
            }
            None => {
                let (_, values) = self.values.try_extract_tensor::<f32>()?;
                SingleProduct::new(linear, values).map(Product::Single)
            }
        };
        product.map_err(Error::wrap)
    }
}

/// Outputs for rows, held while a kernel writes them.
pub(super) struct RowsOutputs<'c> {
    values: Option<ValueRefMut<'c>>,
    bytes: Option<ValueRefMut<'c>>,
    scales: Option<ValueRefMut<'c>>,
    width: usize,
}

impl<'c> RowsOutputs<'c> {
    /// The values at output `first`, bytes and scales at the two after it, as far as the node names them.
    pub(super) fn new(context: &'c ComputeContext, first: usize, rows: usize, width: usize) -> Result<Self> {
        let values = context.output(first, [rows, width])?;
        Ok(Self { values, ..Self::quantised_only(context, first + 1, rows, width)? })
    }

    /// Bytes at output `first`, scales after it.
    pub(super) fn quantised_only(
        context: &'c ComputeContext,
        first: usize,
        rows: usize,
        width: usize,
    ) -> Result<Self> {
        let bytes = context.output(first, [rows, width])?;
        let scales = context.output(first + 1, [rows, 2])?;
        Ok(Self { values: None, bytes, scales, width })
    }

    /// Room for the rows in 8 bits, if they are asked for.
    pub(super) fn quantised(&mut self) -> Result<Option<QuantisedRows<'_>>> {
        let (Some(bytes), Some(scales)) = (&mut self.bytes, &mut self.scales) else {
            return Ok(None);
        };
        let (_, bytes) = bytes.try_extract_tensor_mut::<u8>()?;
        let (_, scales) = scales.try_extract_tensor_mut::<f32>()?;
        QuantisedRows::new(bytes, scales, self.width).map(Some).map_err(Error::wrap)
    }

    /// Room for the rows: in 8 bits if the node asks for that, else in single precision.
    pub(super) fn rows(&mut self) -> Result<RowsOutput<'_>> {
        if self.bytes.is_some() {
            let missing = || Error::new("a node asks for bytes without their scales");
            return self.quantised()?.map(RowsOutput::Quantised).ok_or_else(missing);
        }
        let values = self.values.as_mut().ok_or_else(|| Error::new("a node asks for no output"))?;
        Ok(RowsOutput::Single(values.try_extract_tensor_mut::<f32>()?.1))
    }
}

/// How many of the rows each thread takes.
pub(super) fn rows_of_a_thread(rows: usize, threads: usize) -> usize {
    rows.div_ceil(threads).max(LEAST_ROWS)
}

/// Does all pieces of work, on the threads of the session if it has several. A panic on one of them becomes an error.
pub(super) fn each<P: Send>(
    context: &ComputeContext,
    pieces: Vec<P>,
    work: impl Fn(P) + Send + Sync,
) -> Result<()> {
    if pieces.len() < 2 {
        pieces.into_iter().for_each(work);
        return Ok(());
    }
    let pieces: Vec<_> = pieces.into_iter().map(|piece| Mutex::new(Some(piece))).collect();
    let first_error = OnceLock::new();
    // C++ calls this from its own threads.
    context.par_for(pieces.len(), pieces.len(), |index| {
        let done = no_panic(|| {
            let piece = pieces[index].lock().unwrap_or_else(PoisonError::into_inner).take();
            piece.into_iter().for_each(&work);
            Ok(())
        });
        if let Err(error) = done {
            let _ = first_error.set(error);
        }
    })?;
    first_error.into_inner().map_or(Ok(()), Err)
}
