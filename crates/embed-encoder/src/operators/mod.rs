//! The custom operators that the model files of this workspace use in addition to the standard ones.
//!
//! With standard operators, ONNX Runtime writes the whole state of a text to memory and reads it back at each of some
//! twenty steps between two matrix products. Here a whole layer is one operator, on the rows of any number of texts:
//! `embed-kernels` computes, this module defines the operators, and `embed-assets` writes them into graphs.
//!
//! All are in the domain [`DOMAIN`]. Constants are attributes, except for a table and the weights of products, which lie in
//! the data file of the model, packed as `embed_kernels::pack_integer` (i8), `pack_words` (i16) and `pack_single` (f32) do.
//!
//! | operator | inputs | output (f32) |
//! |---|---|---|
//! | [`UNPACK_ROWS`] | ids (i64), table (u8) | rows |
//! | [`ADD_NORM`] | rows (f32), residual (f32) | state |
//! | [`layer_of`] | state (f32), tokens of each text (i64), weights of the [`PRODUCTS`] (i8, i16 or f32) | state |
//! | [`TEXT_MEAN`] | state (f32), tokens of each text (i64) | means |

mod kernels;
mod layer;
mod names;
mod no_panic;
mod table;
#[cfg(test)]
mod tests;
mod threads;
mod values;

use std::any::Any;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use embed_core::Error;
use ort::operator::OperatorDomain;

use crate::kernels::processor;
use crate::runtime::runtime_error;
use kernels::{AddNorm, TextMean, UnpackRows};
use layer::LayerOperator;
pub(crate) use layer::SharedLayers;
pub use names::*;
use no_panic::NoPanic;
pub(crate) use table::WordTable;

/// The operators for a program that opens its own sessions, each with this many threads: the argument of a builder's
/// `with_operators`. It is an `Arc<OperatorDomain>` of the exact version of `ort` that this crate is built with, behind
/// `Any` so that no type of a pre-release is a part of this interface. ONNX Runtime must have been
/// [started](crate::RuntimeLibrary::start), and the first session of a process with these operators must be open before
/// others are opened; an [`Encoder`](crate::Encoder) takes care of that for its sessions.
///
/// # Errors
///
/// [`ErrorKind::Internal`](embed_core::ErrorKind::Internal) if ONNX Runtime refuses them.
pub fn shared(threads: NonZeroUsize) -> Result<Box<dyn Any>, Error> {
    Ok(Box::new(domain(threads, None, None)?))
}

/// Opens a session with the operators. The first one of the process is opened alone: it adds the domain to a table of the
/// process, and ONNX Runtime has no lock for that, so a session that is opened at the same time would fail.
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

/// The operators for a session on this many threads, which read rows of words from this file if there is one, and whose layers
/// have the constants that other sessions of the same model have read.
pub(crate) fn domain(
    threads: NonZeroUsize,
    table: Option<Arc<WordTable>>,
    layers: Option<Arc<SharedLayers>>,
) -> Result<Arc<OperatorDomain>, Error> {
    // What is set wrong is said by its own error, not by one of ONNX Runtime.
    processor()?;
    make(threads.get(), table, layers)
        .map(Arc::new)
        .map_err(|error| runtime_error("ONNX Runtime refuses the operators of this program", error))
}

fn make(
    threads: usize,
    table: Option<Arc<WordTable>>,
    layers: Option<Arc<SharedLayers>>,
) -> Result<OperatorDomain, ort::Error> {
    let domain = OperatorDomain::new(DOMAIN)?.add(NoPanic(UnpackRows { table }))?;
    let domain = domain.add(NoPanic(AddNorm))?.add(NoPanic(TextMean))?;
    let layers = LAYER_KINDS.map(|kind| LayerOperator { kind, threads, shared: layers.clone() });
    layers.into_iter().try_fold(domain, |domain, layer| domain.add(NoPanic(layer)))
}
