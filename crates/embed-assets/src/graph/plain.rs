//! The network in single precision with standard operators only, for the OpenVINO execution provider, which has its own
//! kernels and computes the products in bfloat16.
//!
//! - The word table is f32, because the cosine falls to 0.9987 when OpenVINO unpacks the 4-bit one.
//! - One product gives queries, keys and values; the scale of attention is a part of the queries.

use std::io::{self, Write};

use embed_core::Pooling;

use super::builder::{Attribute, GraphBuilder, ValueName, to_i64};
use super::onnx::ElementType;
use super::quantise::Dense;
use crate::weights::{EncoderLayer, EncoderShape, EncoderWeights, Format, Norm};

/// A network that is being written.
pub(super) struct PlainNetwork<'a, W: Write> {
    graph: GraphBuilder<W>,
    weights: &'a EncoderWeights,
    pooling: Pooling,
    shape: EncoderShape,
    /// The sizes of the input: tokens of each text, texts.
    sizes: ValueName,
}

impl<'a, W: Write> PlainNetwork<'a, W> {
    /// A network whose large constants go to `data`, a file of this name in the model's folder.
    pub(super) fn new(weights: &'a EncoderWeights, pooling: Pooling, data: W, data_name: String) -> Self {
        let graph = GraphBuilder::new(data, data_name);
        Self { graph, weights, pooling, shape: weights.shape, sizes: ValueName::new() }
    }

    /// Writes every node from the input to the output.
    pub(super) fn write(mut self) -> io::Result<GraphBuilder<W>> {
        let weights = self.weights;
        let mut state = self.embeddings()?;
        for layer in &weights.layers {
            state = self.layer(&state, layer)?;
        }
        let mut by_place = self.by_place(&state, &[self.shape.hidden])?;
        if self.pooling == Pooling::Cls {
            let first = self.graph.i64s(&[0])?;
            by_place = self.graph.node("Gather", [&by_place, &first], &[]);
        }
        let places = self.graph.i64s(&[0])?;
        let mean = self.graph.node("ReduceMean", [&by_place, &places], &[("keepdims", Attribute::Int(0))]);
        self.graph.output(&mean, "pooled");
        Ok(self.graph)
    }

    /// Word plus position plus type, normalised: `[tokens, hidden]`, one position after the other.
    fn embeddings(&mut self) -> io::Result<ValueName> {
        let turned = self.transpose("input_ids", &[1, 0]);
        let flat = self.graph.i64s(&[-1])?;
        let ids = self.graph.node("Reshape", [&turned, &flat], &[]);
        self.sizes = self.graph.node("Shape", [&turned], &[]);
        let table = &self.weights.embeddings.word;
        let table = match table.format() {
            Format::F32 => {
                let dims = [self.shape.vocabulary, self.shape.hidden];
                self.graph.streamed(ElementType::F32, &dims, table.stored_rows())?
            }
            Format::F16 | Format::Bf16 | Format::Q4 => self.graph.f32_rows(table)?,
        };
        let words = self.graph.node("Gather", [&table, &ids], &[]);
        let words = self.by_place(&words, &[self.shape.hidden])?;
        let positions = self.positions()?;
        let weights = self.weights;
        let state = self.add_norm(&words, &positions, &weights.embeddings.norm)?;
        self.rows(&state, self.shape.hidden)
    }

    /// The rows of all tokens as `[tokens of a text, texts, …]`, the last dimensions as they are given.
    fn by_place(&mut self, rows: &str, inner: &[usize]) -> io::Result<ValueName> {
        let dims = self.dims_by_place(inner)?;
        Ok(self.graph.node("Reshape", [rows, &dims], &[]))
    }

    fn dims_by_place(&mut self, inner: &[usize]) -> io::Result<ValueName> {
        let inner: Vec<i64> = inner.iter().copied().map(to_i64).collect();
        let inner = self.graph.i64s(&inner)?;
        Ok(self.graph.node("Concat", [&self.sizes, &inner], &[("axis", Attribute::Int(0))]))
    }

    /// The first rows of the position table, one for each token of a text.
    fn positions(&mut self) -> io::Result<ValueName> {
        let hidden = self.shape.hidden;
        let values = self.weights.position_rows();
        let table = self.graph.f32s(&[values.len() / hidden, 1, hidden], &values)?;
        let first = self.graph.i64s(&[0])?;
        let tokens = self.graph.node("Shape", ["input_ids"], &[("start", Attribute::Int(1))]);
        Ok(self.graph.node("Slice", [&table, &first, &tokens], &[]))
    }

    fn layer(&mut self, state: &str, layer: &EncoderLayer) -> io::Result<ValueName> {
        let context = self.attention(state, layer)?;
        let output = self.gemm(&context, &Dense::side_by_side(&[(&layer.attention_output, 1.0)]))?;
        let state = self.add_norm(&output, state, &layer.attention_norm)?;
        let middle = self.gemm(&state, &Dense::side_by_side(&[(&layer.feed_forward_in, 1.0)]))?;
        let middle = self.graph.node("Gelu", [&middle], &[]);
        let output = self.gemm(&middle, &Dense::side_by_side(&[(&layer.feed_forward_out, 1.0)]))?;
        self.add_norm(&output, &state, &layer.output_norm)
    }

    /// The context of each head over all tokens: `[tokens, hidden]`.
    fn attention(&mut self, state: &str, layer: &EncoderLayer) -> io::Result<ValueName> {
        let (heads, width) = (self.shape.heads, self.shape.head_width());
        let scale = 1.0 / (width as f32).sqrt();
        let parts = [(&layer.query, scale), (&layer.key, 1.0), (&layer.value, 1.0)];
        let joint = self.gemm(state, &Dense::side_by_side(&parts))?;
        let dims = self.dims_by_place(&[heads, width])?;
        let parts = self.graph.split::<3>(&joint, 1);
        let turns = [[1, 2, 0, 3], [1, 2, 3, 0], [1, 2, 0, 3]];
        let [query, key, value] = std::array::from_fn(|part| {
            let heads = self.graph.node("Reshape", [&parts[part], &dims], &[]);
            self.transpose(&heads, &turns[part])
        });
        let scores = self.graph.node("MatMul", [&query, &key], &[]);
        let weights = self.graph.node("Softmax", [&scores], &[("axis", Attribute::Int(-1))]);
        let context = self.graph.node("MatMul", [&weights, &value], &[]);
        let context = self.transpose(&context, &[2, 0, 1, 3]);
        self.rows(&context, self.shape.hidden)
    }

    fn gemm(&mut self, input: &str, dense: &Dense) -> io::Result<ValueName> {
        let matrix = self.graph.f32s(&[dense.inputs, dense.outputs], &dense.values)?;
        let bias = self.graph.f32s(&[dense.bias.len()], &dense.bias)?;
        Ok(self.graph.node("Gemm", [input, &matrix, &bias], &[]))
    }

    fn add_norm(&mut self, left: &str, right: &str, norm: &Norm) -> io::Result<ValueName> {
        let sum = self.graph.node("Add", [left, right], &[]);
        let scale = self.graph.f32s(&[norm.scale.len()], &norm.scale)?;
        let bias = self.graph.f32s(&[norm.bias.len()], &norm.bias)?;
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(self.shape.epsilon))];
        Ok(self.graph.node("LayerNormalization", [&sum, &scale, &bias], &attributes))
    }

    /// One row for each token.
    fn rows(&mut self, value: &str, width: usize) -> io::Result<ValueName> {
        let dims = self.graph.i64s(&[-1, to_i64(width)])?;
        Ok(self.graph.node("Reshape", [value, &dims], &[]))
    }

    fn transpose(&mut self, value: &str, order: &[i64]) -> ValueName {
        self.graph.node("Transpose", [value], &[("perm", Attribute::Ints(order.to_vec()))])
    }
}
