//! The network: an encoder of the BERT family in the operators that ONNX Runtime runs fastest on a CPU.
//!
//! Every choice was measured with ONNX Runtime 1.32 on one core, at 10 to 512 tokens:
//!
//! - The tokens of all texts are the rows of two-dimensional matrices: only attention knows which belong
//!   together. The first tokens of all texts come first, then the second ones, so that several texts are read
//!   in place as one is, by the same nodes.
//! - One product gives queries, keys and values. With a table of ranges an 8-bit product takes its input at a
//!   fixed scale, so that texts may share a run: 16 of 12 tokens take 0.55 of the time that they take one
//!   after the other, 3 of 64 take 0.87. Without one, `DynamicQuantizeMatMul` takes the scale of each run.
//! - 8-bit weights are signed: unsigned ones take twice the time where the processor has VNNI.
//! - `LayerNormalization` after `Add` takes a sixth of the time of the fused `SkipLayerNormalization`.
//! - Attention over up to 320 tokens is two `FusedMatMul`, which read heads in place, around a `Softmax`: 4 %
//!   faster over a whole text than `MultiHeadAttention`, which copies them. Over more tokens the weights of
//!   all heads leave the caches; `MultiHeadAttention` takes them in blocks, is 8 % faster at 512 tokens, and
//!   saves 25 MB of memory for each session. The `If` between the two costs 1 %.
//! - For OpenVINO (bf16) attention and GELU are standard operators, and the word table is f32: where its
//!   compiler unpacks the 4-bit one, the cosine falls to 0.9987. One text at a time it then takes 0.55 of the
//!   time of f32 where lengths repeat and 0.62 where they don't.
//! - The 4-bit word table is unpacked by ten small nodes in a third of the time of
//!   `GatherBlockQuantized`, and its scales stay in half precision.

use std::io::{self, Write};

use super::builder::{Attribute, GraphBuilder, Value};
use super::onnx::ElementType;
use super::quantise::{Dense, NIBBLE_BYTES, power_of_two, q4_rows, rows_in_8_bits, scale_and_zero};
use super::smooth::Range;
use super::{GraphOptions, LayerSmoothing, Precision};
use crate::weights::{EncoderShape, EncoderWeights, Format, Layer, Norm, Q4_BLOCK_VALUES};

/// What a nibble of zero stands for, times minus one.
const NIBBLE_MIDDLE: f32 = 8.0;

/// The number of tokens up to which attention holds the weights of all heads at once.
const SHORT: i64 = 320;

/// A network while it is written.
pub(super) struct Network<'a, W: Write> {
    graph: GraphBuilder<W>,
    weights: &'a EncoderWeights,
    shape: EncoderShape,
    options: &'a GraphOptions<'a>,
    /// The sizes of the input: tokens of each text, texts.
    sizes: Value,
    /// The sizes of queries, keys and values side by side: head by head, and as rows.
    joint_by_head: Value,
    joint_rows: Value,
    /// Whether the texts have few tokens.
    short: Value,
}

impl<'a, W: Write> Network<'a, W> {
    /// A network whose large constants go to `data`, a file of this name beside the model.
    pub(super) fn new(
        weights: &'a EncoderWeights,
        options: &'a GraphOptions<'a>,
        data: W,
        data_name: String,
    ) -> Self {
        Self {
            graph: GraphBuilder::new(data, data_name),
            weights,
            shape: weights.shape,
            options,
            sizes: Value::new(),
            joint_by_head: Value::new(),
            joint_rows: Value::new(),
            short: Value::new(),
        }
    }

    /// Writes every node from the input to the output.
    pub(super) fn write(mut self) -> io::Result<GraphBuilder<W>> {
        let mut state = self.embeddings()?;
        for (index, layer) in self.weights.layers.iter().enumerate() {
            let smoothing = match self.options.precision {
                Precision::Int8 => self.options.smoothing.and_then(|table| table.layers.get(index)),
                Precision::Mixed if 3 * index < 2 * self.shape.layers => {
                    self.options.smoothing.and_then(|table| table.layers.get(index))
                }
                Precision::Mixed | Precision::F32 | Precision::Bf16 => None,
            };
            state = self.layer(&state, layer, smoothing)?;
        }
        let by_place = self.by_place(&state, &[self.shape.hidden])?;
        let places = self.graph.i64s(&[0])?;
        let mean = self.graph.node("ReduceMean", [&by_place, &places], &[("keepdims", Attribute::Int(0))]);
        self.graph.output(&mean, "pooled");
        Ok(self.graph)
    }

    /// Word plus position plus type, normalised: `[tokens, hidden]`, place after place.
    fn embeddings(&mut self) -> io::Result<Value> {
        let turned = swap_first(&mut self.graph, "input_ids", 2);
        let flat = self.graph.i64s(&[-1])?;
        let ids = self.graph.node("Reshape", [&turned, &flat], &[]);
        self.sizes = self.graph.node("Shape", [&turned], &[]);
        self.joint_by_head = self.dims_by_place(&[3 * self.shape.heads, self.shape.head_width()])?;
        self.joint_rows = self.dims_by_place(&[3 * self.shape.hidden])?;
        self.short = self.is_short()?;
        let words = self.words(&ids)?;
        let words = self.by_place(&words, &[self.shape.hidden])?;
        let positions = self.positions()?;
        let state = self.add_norm(&words, &positions, &self.weights.embeddings.norm)?;
        self.rows(&state, self.shape.hidden)
    }

    /// Whether texts have few tokens: what the faster form of attention is for.
    fn is_short(&mut self) -> io::Result<Value> {
        let tokens = self.graph.node("Shape", ["input_ids"], &[("start", Attribute::Int(1))]);
        let bound = self.graph.i64s(&[SHORT])?;
        Ok(self.graph.node("LessOrEqual", [&tokens, &bound], &[]))
    }

    /// The rows of all tokens as `[tokens of a text, texts, …]`, the last dimensions as they are given.
    fn by_place(&mut self, rows: &str, inner: &[usize]) -> io::Result<Value> {
        let dims = self.dims_by_place(inner)?;
        Ok(self.graph.node("Reshape", [rows, &dims], &[]))
    }

    fn dims_by_place(&mut self, inner: &[usize]) -> io::Result<Value> {
        let inner: Vec<i64> = inner.iter().copied().map(to_i64).collect();
        let inner = self.graph.i64s(&inner)?;
        Ok(self.graph.node("Concat", [&self.sizes, &inner], &[("axis", Attribute::Int(0))]))
    }

    /// The rows of the word table: to the bit as they came, but for dense tables in an 8-bit model.
    fn words(&mut self, ids: &str) -> io::Result<Value> {
        let table = &self.weights.embeddings.word;
        if self.options.precision != Precision::Bf16
            && let Some((scales, nibbles)) = q4_rows(table)
        {
            let blocks = self.shape.hidden / Q4_BLOCK_VALUES;
            let scale_dims = [self.shape.vocabulary, blocks, 1];
            let scales = self.graph.streamed(ElementType::F16, &scale_dims, scales)?;
            let nibble_dims = [self.shape.vocabulary, blocks, NIBBLE_BYTES];
            let nibbles = self.graph.streamed(ElementType::U8, &nibble_dims, nibbles)?;
            return self.unpack(ids, &scales, &nibbles);
        }
        let dims = [self.shape.vocabulary, self.shape.hidden];
        match (self.options.precision, table.format()) {
            (Precision::F32 | Precision::Mixed, Format::F16) => {
                let table = self.graph.streamed(ElementType::F16, &dims, table.stored_rows())?;
                let rows = self.graph.node("Gather", [&table, ids], &[]);
                Ok(self.cast_to_f32(&rows))
            }
            (Precision::F32 | Precision::Mixed | Precision::Bf16, Format::F32) => {
                let table = self.graph.streamed(ElementType::F32, &dims, table.stored_rows())?;
                Ok(self.graph.node("Gather", [&table, ids], &[]))
            }
            (Precision::F32 | Precision::Mixed, Format::Bf16 | Format::Q4) | (Precision::Bf16, _) => {
                let mut row = vec![0.0; self.shape.hidden];
                let rows = (0..self.shape.vocabulary).map(|index| {
                    table.read_row(index, &mut row);
                    row.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()
                });
                let values = self.graph.streamed(ElementType::F32, &dims, rows)?;
                Ok(self.graph.node("Gather", [&values, ids], &[]))
            }
            (Precision::Int8, _) => {
                let (bytes, scales) = rows_in_8_bits(table);
                let bytes = self.graph.streamed(ElementType::I8, &dims, bytes)?;
                let scales = self.graph.f32s(&[scales.len(), 1], &scales)?;
                let rows = self.graph.node("Gather", [&bytes, ids], &[]);
                let rows = self.cast_to_f32(&rows);
                let scales = self.graph.node("Gather", [&scales, ids], &[]);
                Ok(self.graph.node("Mul", [&rows, &scales], &[]))
            }
        }
    }

    /// Rows of 4-bit blocks. In a block the low halves of the bytes come first, then the high ones.
    fn unpack(&mut self, ids: &str, scales: &str, nibbles: &str) -> io::Result<Value> {
        let graph = &mut self.graph;
        let bytes = graph.node("Gather", [nibbles, ids], &[]);
        let mask = graph.constant(ElementType::U8, &[], &[15])?;
        let low = graph.node("BitwiseAnd", [&bytes, &mask], &[]);
        let half = graph.constant(ElementType::U8, &[], &[4])?;
        let high = graph.node("BitShift", [&bytes, &half], &[("direction", Attribute::Text("RIGHT"))]);
        let values = graph.node("Concat", [&low, &high], &[("axis", Attribute::Int(2))]);
        let values = self.cast_to_f32(&values);
        let middle = self.graph.f32s(&[], &[NIBBLE_MIDDLE])?;
        let values = self.graph.node("Sub", [&values, &middle], &[]);
        let scales = self.graph.node("Gather", [scales, ids], &[]);
        let scales = self.cast_to_f32(&scales);
        let rows = self.graph.node("Mul", [&values, &scales], &[]);
        self.rows(&rows, self.shape.hidden)
    }

    /// The first rows of the position table, one for each token of a text; the row of token type 0 is in each.
    fn positions(&mut self) -> io::Result<Value> {
        let tables = &self.weights.embeddings;
        let hidden = self.shape.hidden;
        let mut token_type = vec![0.0; hidden];
        tables.token_type.read_row(0, &mut token_type);
        // Rows before the first position belong to padding, of which there is none.
        let mut values = tables.position.to_f32().split_off(self.shape.first_position * hidden);
        for row in values.chunks_exact_mut(hidden) {
            row.iter_mut().zip(&token_type).for_each(|(value, of_type)| *value += of_type);
        }
        let table = self.graph.f32s(&[values.len() / hidden, 1, hidden], &values)?;
        let first = self.graph.i64s(&[0])?;
        let tokens = self.graph.node("Shape", ["input_ids"], &[("start", Attribute::Int(1))]);
        Ok(self.graph.node("Slice", [&table, &first, &tokens], &[]))
    }

    fn layer(&mut self, state: &str, layer: &Layer, smoothing: Option<&LayerSmoothing>) -> io::Result<Value> {
        let context = self.attention(state, layer, smoothing)?;
        let ranges = smoothing.and_then(|layer| layer.ranges);
        let dense = Dense::side_by_side(&[(&layer.attention_output, 1.0)]);
        let output = self.linear(&context, &dense, ranges.map(|ranges| ranges.context))?;
        let state = self.add_norm(&output, state, &layer.attention_norm)?;
        let (output, residual) = self.feed_forward(&state, layer, smoothing)?;
        self.add_norm(&output, &residual, &layer.output_norm)
    }

    /// What each head gathers from all tokens: `[tokens, hidden]`.
    fn attention(
        &mut self,
        state: &str,
        layer: &Layer,
        smoothing: Option<&LayerSmoothing>,
    ) -> io::Result<Value> {
        let (heads, width) = (self.shape.heads, self.shape.head_width());
        // The scale of attention is part of the queries; 8-bit weights have a scale for each column anyway.
        let scale = 1.0 / (width as f32).sqrt();
        let parts = [(&layer.query, scale), (&layer.key, 1.0), (&layer.value, 1.0)];
        let mut dense = Dense::side_by_side(&parts);
        let state = self.smooth(state, &mut dense, smoothing.map(|layer| &*layer.attention))?;
        let ranges = smoothing.and_then(|layer| layer.ranges);
        let joint = self.linear(&state, &dense, ranges.map(|ranges| ranges.attention))?;
        if self.options.precision == Precision::Bf16 {
            return self.plain_attention(&joint);
        }
        let flat = self.graph.i64s(&[-1, to_i64(self.shape.hidden)])?;
        let condition = self.short.clone();
        let (by_head, as_rows) = (self.joint_by_head.clone(), self.joint_rows.clone());
        self.graph.choose(
            &condition,
            |graph| {
                let joint = graph.node("Reshape", [&joint, &by_head], &[]);
                let [query, key, value] = graph.split::<3>(&joint, 2);
                // `transBatch` takes texts and heads as the batch although the tokens come before them.
                let on = || Attribute::Int(1);
                let turned = [("transBatchA", on()), ("transBatchB", on()), ("transB", on())];
                let scores = graph.contrib("FusedMatMul", [&query, &key], &turned);
                let weights = graph.node("Softmax", [&scores], &[("axis", Attribute::Int(-1))]);
                let context = graph.contrib("FusedMatMul", [&weights, &value], &[("transBatchB", on())]);
                let order = Attribute::Ints(vec![2, 0, 1, 3]);
                let context = graph.node("Transpose", [&context], &[("perm", order)]);
                Ok(graph.node("Reshape", [&context, &flat], &[]))
            },
            |graph| {
                let joint = graph.node("Reshape", [&joint, &as_rows], &[]);
                let joint = swap_first(graph, &joint, 3);
                let [query, key, value] = graph.split::<3>(&joint, 2);
                let attributes = [
                    ("num_heads", Attribute::Int(to_i64(heads))),
                    // The queries hold it already.
                    ("scale", Attribute::Float(1.0)),
                ];
                let context = graph.contrib("MultiHeadAttention", [&query, &key, &value], &attributes);
                let context = swap_first(graph, &context, 3);
                Ok(graph.node("Reshape", [&context, &flat], &[]))
            },
        )
    }

    /// Attention in standard operators.
    fn plain_attention(&mut self, joint: &str) -> io::Result<Value> {
        let dims = self.dims_by_place(&[self.shape.heads, self.shape.head_width()])?;
        let parts = self.graph.split::<3>(joint, 1);
        let turns = [[1, 2, 0, 3], [1, 2, 3, 0], [1, 2, 0, 3]];
        let [query, key, value] = std::array::from_fn(|part| {
            let heads = self.graph.node("Reshape", [&parts[part], &dims], &[]);
            self.graph.node("Transpose", [&heads], &[("perm", Attribute::Ints(turns[part].to_vec()))])
        });
        let scores = self.graph.node("MatMul", [&query, &key], &[]);
        let weights = self.graph.node("Softmax", [&scores], &[("axis", Attribute::Int(-1))]);
        let context = self.graph.node("MatMul", [&weights, &value], &[]);
        let context =
            self.graph.node("Transpose", [&context], &[("perm", Attribute::Ints(vec![2, 0, 1, 3]))]);
        self.rows(&context, self.shape.hidden)
    }

    /// The feed-forward part, and what is to be added to it: the state, or, where outlier channels are set
    /// apart, the state plus their share, which one `Gemm` computes.
    fn feed_forward(
        &mut self,
        state: &str,
        layer: &Layer,
        smoothing: Option<&LayerSmoothing>,
    ) -> io::Result<(Value, Value)> {
        let mut wide = Dense::side_by_side(&[(&layer.feed_forward_in, 1.0)]);
        let mut narrow = Dense::side_by_side(&[(&layer.feed_forward_out, 1.0)]);
        let mut residual = state.to_owned();
        if let Some(layer) = smoothing.filter(|layer| !layer.outliers.is_empty()) {
            let mut drop = vec![false; self.shape.feed_forward];
            layer.outliers.iter().for_each(|&channel| drop[usize::from(channel)] = true);
            let (apart_in, apart_out);
            (wide, apart_in) = wide.part_outputs(&drop);
            (narrow, apart_out) = narrow.part_inputs(&drop);
            let middle = self.gemm(state, &apart_in)?;
            let middle = self.graph.contrib("Gelu", [&middle], &[]);
            let matrix = self.graph.f32s(&[apart_out.inputs, apart_out.outputs], &apart_out.values)?;
            residual = self.graph.node("Gemm", [&middle, &matrix, state], &[]);
        }
        let input = self.smooth(state, &mut wide, smoothing.map(|layer| &*layer.feed_forward))?;
        let ranges = smoothing.and_then(|layer| layer.ranges);
        let middle = self.linear(&input, &wide, ranges.map(|ranges| ranges.feed_forward))?;
        let middle = match self.options.precision {
            Precision::Bf16 => self.graph.node("Gelu", [&middle], &[]),
            Precision::Int8 | Precision::Mixed | Precision::F32 => self.graph.contrib("Gelu", [&middle], &[]),
        };
        let output = match smoothing {
            // The scale of each run: with a fixed one the worst cosine is 0.9998.
            Some(_) if self.options.precision == Precision::Mixed => {
                self.quantised(&middle, &narrow, None)?
            }
            _ => self.linear(&middle, &narrow, ranges.map(|ranges| ranges.middle))?,
        };
        Ok((output, residual))
    }

    /// Divides each channel by its factor and multiplies its weights by it.
    fn smooth(&mut self, input: &str, dense: &mut Dense, exponents: Option<&[i8]>) -> io::Result<Value> {
        let Some(exponents) = exponents.filter(|_| self.options.precision == Precision::Int8) else {
            return Ok(input.to_owned());
        };
        dense.scale_inputs(exponents);
        let inverse: Vec<f32> = exponents.iter().map(|&exponent| power_of_two(-exponent)).collect();
        let inverse = self.graph.f32s(&[inverse.len()], &inverse)?;
        Ok(self.graph.node("Mul", [input, &inverse], &[]))
    }

    fn linear(&mut self, input: &str, dense: &Dense, range: Option<Range>) -> io::Result<Value> {
        match self.options.precision {
            Precision::Int8 => self.quantised(input, dense, range),
            Precision::F32 | Precision::Mixed | Precision::Bf16 => self.gemm(input, dense),
        }
    }

    /// An 8-bit product. What lies outside of the range counts as its end.
    fn quantised(&mut self, input: &str, dense: &Dense, range: Option<Range>) -> io::Result<Value> {
        let (bytes, scales) = dense.quantise();
        let matrix = self.graph.constant(ElementType::I8, &[dense.inputs, dense.outputs], &bytes)?;
        let scales = self.graph.f32s(&[scales.len()], &scales)?;
        let bias = self.graph.f32s(&[dense.bias.len()], &dense.bias)?;
        // The empty input is the zero point of the weights: they are symmetric.
        let Some((scale, zero)) = range.map(scale_and_zero) else {
            let inputs = [input, &matrix, &scales, "", &bias];
            return Ok(self.graph.contrib("DynamicQuantizeMatMul", inputs, &[]));
        };
        let scale = self.graph.f32s(&[], &[scale])?;
        let zero = self.graph.constant(ElementType::U8, &[], &[zero])?;
        let input = self.graph.node("QuantizeLinear", [input, &scale, &zero], &[]);
        let inputs = [&input, &matrix, &scale, &scales, &zero, "", &bias];
        Ok(self.graph.contrib("MatMulIntegerToFloat", inputs, &[]))
    }

    fn gemm(&mut self, input: &str, dense: &Dense) -> io::Result<Value> {
        let matrix = self.graph.f32s(&[dense.inputs, dense.outputs], &dense.values)?;
        let bias = self.graph.f32s(&[dense.bias.len()], &dense.bias)?;
        Ok(self.graph.node("Gemm", [input, &matrix, &bias], &[]))
    }

    fn add_norm(&mut self, left: &str, right: &str, norm: &Norm) -> io::Result<Value> {
        let sum = self.graph.node("Add", [left, right], &[]);
        let scale = self.graph.f32s(&[norm.scale.len()], &norm.scale)?;
        let bias = self.graph.f32s(&[norm.bias.len()], &norm.bias)?;
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(self.shape.epsilon))];
        Ok(self.graph.node("LayerNormalization", [&sum, &scale, &bias], &attributes))
    }

    /// One row for each token.
    fn rows(&mut self, value: &str, width: usize) -> io::Result<Value> {
        let dims = self.graph.i64s(&[-1, to_i64(width)])?;
        Ok(self.graph.node("Reshape", [value, &dims], &[]))
    }

    fn cast_to_f32(&mut self, value: &str) -> Value {
        let to = Attribute::Int(ElementType::F32 as i64);
        self.graph.node("Cast", [value], &[("to", to)])
    }
}

/// The first two of so many dimensions in each other's place.
fn swap_first<W: Write>(graph: &mut GraphBuilder<W>, value: &str, dimensions: i64) -> Value {
    let order = [1, 0].into_iter().chain(2..dimensions).collect();
    graph.node("Transpose", [value], &[("perm", Attribute::Ints(order))])
}

/// A size, as the attributes of ONNX have them.
fn to_i64(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
