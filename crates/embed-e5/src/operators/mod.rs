//! The operators that the model files of this workspace use beside the standard ones.
//!
//! A run of ONNX Runtime over the standard operators writes the whole state of a text to memory and reads it back at
//! each of some twenty steps between two matrix products. These do what stands between two products in one pass, on
//! the rows of any number of texts: `embed-kernels` computes, this module names the operators, and `embed-assets`
//! writes them into graphs.
//!
//! All are in the domain [`DOMAIN`]. Constants are attributes. A *product* is what `MatMul` gives (f32), or, where the
//! name ends in [`INTEGER`], what `MatMulInteger` gives (i32), followed by the scales of its rows (f32, `[rows, 2]`: a
//! scale and a lowest value). Outputs that a node doesn't name aren't computed.
//!
//! | operator | inputs | outputs |
//! |---|---|---|
//! | [`UNPACK_ROWS`] | ids (i64), table (u8) | rows (f32) |
//! | [`ADD_NORM`] | product, residual (f32) | state, sum (f32), bytes (u8), scales of rows (f32) |
//! | [`ATTENTION`] | product, tokens of each text (i64) | context (f32), bytes (u8), scales of rows (f32) |
//! | [`GELU`] | product | values (f32), bytes (u8), scales of rows (f32) |
//! | [`TEXT_MEAN`] | state (f32), tokens of each text (i64) | means (f32) |

mod kernels;
mod no_panic;
#[cfg(test)]
mod tests;
mod values;

use std::any::Any;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use embed_core::Error;
use ort::operator::OperatorDomain;

use crate::runtime::runtime_error;
use kernels::{AddNormOperator, AttentionOperator, GeluOperator, TextMean, UnpackRows};
use no_panic::NoPanic;

/// The domain of the operators.
pub const DOMAIN: &str = "embed";

/// The version of the operators.
pub const VERSION: i64 = 1;

/// The end of the name of an operator that takes an 8-bit product.
pub const INTEGER: &str = "Integer";

/// Takes rows out of a table of 4-bit blocks ([`WIDTH`]).
pub const UNPACK_ROWS: &str = "UnpackRows";

/// Adds a product and its bias to a residual, and normalises the sum ([`BIAS`], [`NORM_SCALE`], [`NORM_BIAS`],
/// [`EPSILON`]). The second output is the state plus a few channels of the feed-forward part
/// ([`APART_INTO`], [`APART_BIAS`], [`APART_OUT`]); the third and the fourth are the state in 8 bits, multiplied by
/// [`FACTORS`] before.
pub const ADD_NORM: &str = "AddNorm";

/// Attention inside of each text ([`BIAS`], [`HEADS`]). The product holds queries, keys and values.
pub const ATTENTION: &str = "Attention";

/// GELU of a product and its bias ([`BIAS`]).
pub const GELU: &str = "Gelu";

/// The mean of the states of each text ([`WIDTH`]).
pub const TEXT_MEAN: &str = "TextMean";

/// The bias of a product, one for each column.
pub const BIAS: &str = "bias";
/// The scales of 8-bit weights, one for each column.
pub const COLUMN_SCALES: &str = "column_scales";
/// The sums of the columns of 8-bit weights, times their scales.
pub const COLUMN_SUMS: &str = "column_sums";
/// The scale of a normalisation, one for each channel.
pub const NORM_SCALE: &str = "norm_scale";
/// The bias of a normalisation, one for each channel.
pub const NORM_BIAS: &str = "norm_bias";
/// The epsilon of a normalisation.
pub const EPSILON: &str = "epsilon";
/// What channels are multiplied by before they are quantised.
pub const FACTORS: &str = "factors";
/// The weights into channels that are computed apart, for each channel those of all inputs.
pub const APART_INTO: &str = "apart_into";
/// The bias of channels that are computed apart.
pub const APART_BIAS: &str = "apart_bias";
/// The weights out of channels that are computed apart, for each channel those of all outputs.
pub const APART_OUT: &str = "apart_out";
/// How many heads attention has.
pub const HEADS: &str = "heads";
/// Values of a row.
pub const WIDTH: &str = "width";

/// The operators for a program that has sessions of its own, each on so many threads: what `with_operators` of a builder
/// takes, an `Arc<OperatorDomain>` of the exact version of `ort` that this crate is built with, behind `Any` so that no
/// type of a pre-release is a part of this interface. ONNX Runtime must have been
/// [started](crate::RuntimeLibrary::start), and the first session of a process with these operators must be open before
/// others are opened beside it; an [`E5Embedder`](crate::E5Embedder) sees to that for its own.
///
/// # Errors
///
/// [`ErrorKind::Internal`](embed_core::ErrorKind::Internal) if ONNX Runtime refuses them.
pub fn shared(threads: NonZeroUsize) -> Result<Box<dyn Any>, Error> {
    Ok(Box::new(domain(threads)?))
}

/// Opens a session with the operators, the first one of the process before any other: it adds the domain to a table of
/// the process, which ONNX Runtime does without a lock, so that another session that is opened just then fails.
pub(crate) fn open<T, E>(open: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    static OPENED: Mutex<bool> = Mutex::new(false);
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if *opened {
        drop(opened);
        return open();
    }
    let session = open()?;
    *opened = true;
    Ok(session)
}

/// The operators for a session on so many threads.
pub(crate) fn domain(threads: NonZeroUsize) -> Result<Arc<OperatorDomain>, Error> {
    make(threads.get())
        .map(Arc::new)
        .map_err(|error| runtime_error("ONNX Runtime refuses the operators of this program", error))
}

fn make(threads: usize) -> Result<OperatorDomain, ort::Error> {
    let mut domain = OperatorDomain::new(DOMAIN)?.add(NoPanic(UnpackRows))?.add(NoPanic(TextMean))?;
    for integer in [false, true] {
        domain = domain
            .add(NoPanic(AddNormOperator::new(integer, threads)))?
            .add(NoPanic(AttentionOperator::new(integer, threads)))?
            .add(NoPanic(GeluOperator::new(integer, threads)))?;
    }
    Ok(domain)
}
