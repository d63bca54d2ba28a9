//! A whole layer of an encoder of the BERT family, block of rows after block of rows.
//!
//! What lies between two products stays in the caches of a core: the queries, keys and values of one head at a time, and the
//! middle of the feed-forward part of [`BLOCK`] rows.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use pulp::{Simd, WithSimd};

use crate::attention::{self, HeadScratch};
use crate::integer_attention::{self, HeadScratch as IntegerHeadScratch};
use crate::lanes::{LANES, UnfitLength};
use crate::linear::{Linear, Product};
use crate::math;
use crate::norm::AddNorm;
use crate::outliers::{OutlierScratch, Outliers};
use crate::processor::Processor;
use crate::rows::{QuantisedPiece, QuantisedRows, Rows};
use crate::weights::{Kind, Weights};

/// Rows that go from attention to the end of the layer together: enough that the weights, which are read anew for each
/// block, cost little, and few enough that the middle of the feed-forward part stays in the second-level cache.
const BLOCK: usize = 48;

/// Whole texts share the products of attention until they have so many rows.
const CHUNK: usize = 96;

/// The fewest rows that are worth another thread.
const LEAST_ROWS: usize = 4;

/// The threads that a layer may use, and what happens between its blocks. A layer takes it as `dyn`: a generic function would be
/// compiled with the caller's settings, and its loops over functions that aren't inlined there are many times slower.
pub trait Executor {
    /// How many pieces may run at a time.
    fn threads(&self) -> usize;

    /// Calls `work` once with each number below `count`, on any threads, and returns when all calls have returned.
    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync));

    /// Called between two blocks, on the calling thread, which may be used for other layers meanwhile.
    fn pause(&self) {}
}

/// An [`Executor`] that does everything on the calling thread.
#[derive(Debug, Clone, Copy)]
pub struct Serial;

impl Executor for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        (0..count).for_each(work);
    }
}

/// The constants of a layer.
#[derive(Debug, Clone)]
pub struct LayerParts {
    /// Heads of attention.
    pub heads: usize,
    /// Queries, keys and values. The outputs stand head by head: the query of the first head, its key, its value, the query of
    /// the second head and so on. Queries include the scale of attention and log₂ e.
    pub joint: Linear,
    /// What follows attention.
    pub output: Linear,
    /// The first half of the feed-forward part.
    pub wide: Linear,
    /// The second half of the feed-forward part.
    pub narrow: Linear,
    /// The normalisation after attention.
    pub attention_norm: AddNorm,
    /// The normalisation after the feed-forward part.
    pub output_norm: AddNorm,
    /// Factors of the channels, applied before the input of attention is quantised; empty for none.
    pub attention_factors: Vec<f32>,
    /// The same for the input of the feed-forward part.
    pub feed_forward_factors: Vec<f32>,
    /// Channels of the feed-forward part that are computed in single precision.
    pub outliers: Option<Outliers>,
}

/// The packed weights of a layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerWeights<'a> {
    /// Of [`LayerParts::joint`].
    pub joint: Weights<'a>,
    /// Of [`LayerParts::output`].
    pub output: Weights<'a>,
    /// Of [`LayerParts::wide`].
    pub wide: Weights<'a>,
    /// Of [`LayerParts::narrow`].
    pub narrow: Weights<'a>,
}

/// A layer of an encoder: attention, output, normalisation, feed-forward part, normalisation.
#[derive(Debug, Clone)]
pub struct Layer {
    processor: Processor,
    parts: LayerParts,
}

thread_local! {
    /// What the thread that calls [`Layer::run`] needs, and what each thread needs for a piece. All layers of all models share
    /// the two of their thread; a text of 512 tokens bounds their size.
    static RUN: RefCell<RunScratch> = RefCell::default();
    static PIECE: RefCell<PieceScratch> = RefCell::default();
}

/// Scratch memory for the rows of some texts.
#[derive(Debug, Default)]
struct RunScratch {
    quantised: QuantisedRows,
    /// The contexts of all heads, one head after the other.
    contexts: Vec<f32>,
}

/// Scratch memory for a piece of work.
#[derive(Debug, Default)]
struct PieceScratch {
    sums: Vec<i32>,
    head: HeadScratch,
    integer_head: IntegerHeadScratch,
    /// Queries, keys and values of a head.
    joint: Vec<f32>,
    quantised: QuantisedRows,
    /// Contexts, then factors applied.
    rows: Vec<f32>,
    /// The state after attention.
    state: Vec<f32>,
    middle: Vec<f32>,
    outliers: OutlierScratch,
}

impl Layer {
    /// A layer of these parts.
    ///
    /// # Errors
    ///
    /// If the widths of the parts don't fit each other, or a head isn't a multiple of two [`LANES`] wide.
    pub fn new(processor: Processor, parts: LayerParts) -> Result<Self, UnfitLength> {
        let hidden = parts.output_norm.width();
        let unfit = |what, length| Err(UnfitLength { what, length });
        if parts.heads == 0 || !hidden.is_multiple_of(parts.heads * 2 * LANES) {
            return unfit("a head", hidden / parts.heads.max(1));
        }
        for (what, length, wanted) in [
            ("queries, keys and values", parts.joint.width(), 3 * hidden),
            ("the output of attention", parts.output.width(), hidden),
            ("the output of the feed-forward part", parts.narrow.width(), hidden),
            ("the normalisation after attention", parts.attention_norm.width(), hidden),
            ("outlier channels", parts.outliers.as_ref().map_or(hidden, Outliers::width), hidden),
        ] {
            if length != wanted {
                return unfit(what, length);
            }
        }
        for (linear, factors) in
            [(&parts.joint, &parts.attention_factors), (&parts.wide, &parts.feed_forward_factors)]
        {
            if !factors.is_empty() && (factors.len() != hidden || linear.kind() != Kind::Integer) {
                return unfit("the factors of channels", factors.len());
            }
        }
        Ok(Self { processor, parts })
    }

    /// Values of a row of the state.
    #[must_use]
    pub fn width(&self) -> usize {
        self.parts.output_norm.width()
    }

    /// Computes the states of all tokens: `state` has the rows of one text after the other, and `lengths` says how many each
    /// has. The row of a token depends on the rows of its text alone, to the bit: not on other texts, on the threads, or on what
    /// shares its block.
    ///
    /// # Errors
    ///
    /// If a length doesn't fit.
    pub fn run(
        &self,
        executor: &dyn Executor,
        weights: &LayerWeights<'_>,
        (lengths, state): (&[usize], &[f32]),
        out: &mut [f32],
    ) -> Result<(), UnfitLength> {
        let hidden = self.width();
        let rows: usize = lengths.iter().sum();
        if state.len() != rows * hidden || out.len() != state.len() || lengths.contains(&0) {
            return Err(UnfitLength { what: "the rows of texts", length: state.len() });
        }
        let LayerParts { joint, output, wide, narrow, .. } = &self.parts;
        joint.check(weights.joint, hidden)?;
        output.check(weights.output, hidden)?;
        wide.check(weights.wide, hidden)?;
        narrow.check(weights.narrow, wide.width())?;
        let mut rest = (lengths, state, out);
        while let Some((lengths, rows)) = chunk(rest.0) {
            executor.pause();
            let (state, states) = rest.1.split_at(rows * hidden);
            let (out, outs) = rest.2.split_at_mut(rows * hidden);
            rest = (&rest.0[lengths.len()..], states, outs);
            let mut scratch = RUN.take();
            self.attention(executor, weights.joint, (lengths, state), &mut scratch);
            self.rest(executor, weights, (state, &scratch.contexts), out);
            RUN.set(scratch);
        }
        Ok(())
    }

    /// The contexts of all heads, for some texts.
    fn attention(
        &self,
        executor: &dyn Executor,
        weights: Weights<'_>,
        (lengths, state): (&[usize], &[f32]),
        scratch: &mut RunScratch,
    ) {
        let (hidden, heads, arch) = (self.width(), self.parts.heads, self.processor.arch);
        let count = state.len() / hidden;
        let RunScratch { quantised, contexts } = scratch;
        contexts.resize(state.len(), 0.0);
        let kind = self.parts.joint.kind();
        let rows = if kind != Kind::Single {
            let of_piece = rows_of_a_piece(count, executor.threads());
            let room = quantised.room(kind, count, hidden).split(of_piece);
            let pieces = room.into_iter().zip(state.chunks(of_piece * hidden)).collect();
            let factors = &self.parts.attention_factors;
            spread(executor, pieces, |(quantised, rows)| {
                arch.dispatch(Quantise { factors, rows, quantised });
            });
            quantised.rows()
        } else {
            Rows::Single(state, hidden)
        };
        let of_piece = if count < 2 * LEAST_ROWS { heads } else { heads.div_ceil(executor.threads()) };
        let width = count * hidden / heads;
        let pieces = contexts.chunks_mut(of_piece * width).enumerate().collect();
        spread(executor, pieces, |(piece, contexts)| {
            let first = piece * of_piece;
            let heads = first..first + contexts.len() / width;
            PIECE.with_borrow_mut(|scratch| {
                arch.dispatch(Heads { layer: self, weights, rows, lengths, heads, contexts, scratch });
            });
        });
    }

    /// Everything after attention, which is done row by row.
    fn rest(
        &self,
        executor: &dyn Executor,
        weights: &LayerWeights<'_>,
        (state, contexts): (&[f32], &[f32]),
        out: &mut [f32],
    ) {
        let hidden = self.width();
        let of_piece = rows_of_a_piece(out.len() / hidden, executor.threads());
        // Blocks of nearly the same size: a small one would read all weights for a few rows.
        let of_piece = of_piece.div_ceil(of_piece.div_ceil(BLOCK).max(1));
        let pieces = out.chunks_mut(of_piece * hidden).enumerate().collect();
        spread(executor, pieces, |(piece, out)| {
            let first = piece * of_piece;
            PIECE.with_borrow_mut(|scratch| {
                self.processor.arch.dispatch(Rest {
                    layer: self,
                    weights,
                    state,
                    contexts,
                    first,
                    out,
                    scratch,
                });
            });
        });
    }
}

/// The first texts that are processed together, and how many rows they have.
fn chunk(lengths: &[usize]) -> Option<(&[usize], usize)> {
    let mut rows = *lengths.first()?;
    let mut texts = 1;
    while let Some(next) = lengths.get(texts).filter(|&next| rows + next <= CHUNK) {
        rows += next;
        texts += 1;
    }
    Some((&lengths[..texts], rows))
}

/// How many of the rows a thread takes at a time.
fn rows_of_a_piece(rows: usize, threads: usize) -> usize {
    if threads == 1 { rows } else { rows.div_ceil(threads).max(LEAST_ROWS) }
}

/// Does all pieces of work.
fn spread<P: Send>(executor: &dyn Executor, pieces: Vec<P>, work: impl Fn(P) + Sync) {
    if pieces.len() < 2 || executor.threads() == 1 {
        pieces.into_iter().for_each(work);
        return;
    }
    let pieces: Vec<_> = pieces.into_iter().map(|piece| Mutex::new(Some(piece))).collect();
    executor.each(pieces.len(), &|index| {
        let piece = pieces[index].lock().unwrap_or_else(PoisonError::into_inner).take();
        piece.into_iter().for_each(&work);
    });
}

/// Quantises rows for a product.
struct Quantise<'a> {
    factors: &'a [f32],
    rows: &'a [f32],
    quantised: QuantisedPiece<'a>,
}

impl WithSimd for Quantise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { factors, rows, mut quantised } = self;
        let count = quantised.count();
        let mut scaled = vec![0.0; factors.len()];
        for (row, values) in rows.chunks_exact(rows.len() / count).enumerate() {
            quantised.put(simd, row, scale(factors, values, &mut scaled));
        }
    }
}

/// A row times the factors of its channels, if there are any.
#[inline(always)]
fn scale<'a>(factors: &[f32], row: &'a [f32], scaled: &'a mut [f32]) -> &'a [f32] {
    if factors.is_empty() {
        return row;
    }
    for ((scaled, value), factor) in scaled.iter_mut().zip(row).zip(factors) {
        *scaled = value * factor;
    }
    scaled
}

/// The contexts of some heads, for some texts.
struct Heads<'a> {
    layer: &'a Layer,
    weights: Weights<'a>,
    rows: Rows<'a>,
    lengths: &'a [usize],
    heads: Range<usize>,
    contexts: &'a mut [f32],
    scratch: &'a mut PieceScratch,
}

impl WithSimd for Heads<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layer, weights, rows, lengths, heads, contexts, scratch } = self;
        let (gemm, linear, count) = (layer.processor.gemm, &layer.parts.joint, rows.count());
        let width = layer.width() / layer.parts.heads;
        let PieceScratch { sums, head: of_head, integer_head, joint, .. } = scratch;
        joint.resize(count * 3 * width, 0.0);
        for (head, contexts) in heads.zip(contexts.chunks_exact_mut(count * width)) {
            let outputs = head * 3 * width..(head + 1) * 3 * width;
            let product = Product { linear, weights, rows, outputs };
            product.write(gemm, sums, joint, |_| {});
            let (mut joint, mut contexts) = (&joint[..], contexts);
            for &tokens in lengths {
                let (of_text, joints) = joint.split_at(tokens * 3 * width);
                let (context, others) = contexts.split_at_mut(tokens * width);
                (joint, contexts) = (joints, others);
                if linear.kind() == Kind::Single {
                    attention::attend((simd, gemm), of_text, width, of_head, context);
                } else {
                    integer_attention::attend((simd, gemm), of_text, width, integer_head, context);
                }
            }
        }
    }
}

/// Everything after attention, for a block of rows.
struct Rest<'a> {
    layer: &'a Layer,
    weights: &'a LayerWeights<'a>,
    /// The state before the layer, of all rows.
    state: &'a [f32],
    /// The contexts of all heads, of all rows.
    contexts: &'a [f32],
    /// The first row of the block.
    first: usize,
    out: &'a mut [f32],
    scratch: &'a mut PieceScratch,
}

impl WithSimd for Rest<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { layer: Layer { processor, parts }, weights, state: before, contexts, first, out, scratch } =
            self;
        let PieceScratch { sums, quantised, rows, state, middle, outliers: outlier_scratch, .. } = scratch;
        let gemm = processor.gemm;
        let hidden = parts.output_norm.width();
        let head = hidden / parts.heads;
        let (all, count) = (before.len() / hidden, out.len() / hidden);

        rows.resize(count * hidden, 0.0);
        for (row, values) in rows.chunks_exact_mut(hidden).enumerate() {
            for (place, part) in values.chunks_exact_mut(head).enumerate() {
                part.copy_from_slice(&contexts[(place * all + first + row) * head..][..head]);
            }
        }
        state.resize(count * hidden, 0.0);
        let rows_of_output = prepare(simd, &parts.output, (rows, hidden), quantised);
        whole(&parts.output, weights.output, rows_of_output).write(gemm, sums, state, |_| {});
        let residuals = before[first * hidden..].chunks_exact(hidden);
        for (state, residual) in state.chunks_exact_mut(hidden).zip(residuals) {
            parts.attention_norm.row(simd, residual, state);
        }

        let kind = parts.wide.kind();
        let into_wide = if kind != Kind::Single {
            let mut room = quantised.room(kind, count, hidden);
            for (row, (state, scaled)) in
                state.chunks_exact(hidden).zip(rows.chunks_exact_mut(hidden)).enumerate()
            {
                room.put(simd, row, scale(&parts.feed_forward_factors, state, scaled));
            }
            quantised.rows()
        } else {
            Rows::Single(state, hidden)
        };
        let width = parts.wide.width();
        middle.resize(count * width, 0.0);
        whole(&parts.wide, weights.wide, into_wide).write(
            gemm,
            sums,
            middle,
            #[inline(always)]
            |row| {
                for value in row {
                    *value = math::gelu(*value);
                }
            },
        );
        if let Some(outliers) = &parts.outliers {
            outliers.add(gemm, state, outlier_scratch);
        }

        let into_narrow = prepare(simd, &parts.narrow, (middle, width), quantised);
        whole(&parts.narrow, weights.narrow, into_narrow).write(gemm, sums, out, |_| {});
        for (out, residual) in out.chunks_exact_mut(hidden).zip(state.chunks_exact(hidden)) {
            parts.output_norm.row(simd, residual, out);
        }
    }
}

/// A product of which all outputs are wanted.
fn whole<'a>(linear: &'a Linear, weights: Weights<'a>, rows: Rows<'a>) -> Product<'a> {
    Product { linear, weights, rows, outputs: 0..linear.width() }
}

/// Rows as a linear layer takes them.
#[inline(always)]
fn prepare<'a, S: Simd>(
    simd: S,
    linear: &Linear,
    (rows, width): (&'a [f32], usize),
    quantised: &'a mut QuantisedRows,
) -> Rows<'a> {
    let kind = linear.kind();
    if kind == Kind::Single {
        return Rows::Single(rows, width);
    }
    let mut room = quantised.room(kind, rows.len() / width, width);
    for (row, values) in rows.chunks_exact(width).enumerate() {
        room.put(simd, row, values);
    }
    quantised.rows()
}
