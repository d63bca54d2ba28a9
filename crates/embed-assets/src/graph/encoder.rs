//! The network: an encoder of the BERT family as the operators of [`embed_encoder::operators`], one for each layer.
//!
//! The tokens of all texts are the rows of two-dimensional matrices: nothing is padded, and only attention and the
//! mean know which rows belong together. So texts of any lengths can share a run, and the vector of a text is the same to
//! the bit whatever other texts are in the run: products and everything else work row by row.
//!
//! Design decisions:
//!
//! - One product computes queries, keys and values; the scale of attention is a part of the queries. The outputs stand head
//!   by head, so that a head can be computed as soon as its columns are there.
//! - Weights are packed here, once, in the order in which products read them on every processor.
//! - Each row of an 8-bit product has its own scale and lowest value. One scale for a run would make texts depend on each
//!   other, and a fixed one would have to be wide enough for every text.
//! - Weights are whole numbers from −127 to 127, activations from 0 to 127. Processors without VNNI add two products at a
//!   time in 16 bits, which these can't overflow: so one file gives the same sums on every processor. Seven bits for the
//!   weights and eight for the activations would fit, too, but are less accurate (data/README.md).

use std::io::{self, Write};

use embed_core::Pooling;
use embed_encoder::assets::{LENGTHS, POSITIONS};
use embed_encoder::operators::{
    ADD_NORM, BIAS, COLUMN_SCALES, COLUMN_SUMS, EPSILON, FACTORS, HEADS, JOINT, NARROW, NORM_BIAS,
    NORM_SCALE, OUTLIERS_BIAS, OUTLIERS_INTO, OUTLIERS_OUT, OUTPUT, TEXT_MEAN, UNPACK_ROWS, WIDE, WIDTH,
    attribute_of, layer_of,
};
use embed_kernels::{Kind, pack_integer, pack_single, pack_words};

use super::builder::{Attribute, GraphBuilder, ValueName, to_i64};
use super::onnx::ElementType;
use super::options::{GraphOptions, Precision};
use super::quantise::{Dense, power_of_two, rows_in_8_bits};
use crate::weights::{EncoderLayer, EncoderShape, EncoderWeights, Format, LinearLayer};

/// A network that is being written.
pub(super) struct Network<'a, W: Write> {
    graph: GraphBuilder<W>,
    weights: &'a EncoderWeights,
    shape: EncoderShape,
    options: &'a GraphOptions<'a>,
}

impl<'a, W: Write> Network<'a, W> {
    /// A network whose large constants go to `data`, a file of this name in the model's folder.
    pub(super) fn new(
        weights: &'a EncoderWeights,
        options: &'a GraphOptions<'a>,
        data: W,
        data_name: String,
    ) -> Self {
        Self { graph: GraphBuilder::new(data, data_name), weights, shape: weights.shape, options }
    }

    /// Writes every node from the input to the output.
    pub(super) fn write(mut self) -> io::Result<GraphBuilder<W>> {
        let weights = self.weights;
        let mut state = self.embeddings()?;
        for (index, layer) in weights.layers.iter().enumerate() {
            state = self.layer(&state, layer, index)?;
        }
        let pooled = self.pool(&state)?;
        self.graph.output(&pooled, "pooled");
        Ok(self.graph)
    }

    /// The vector of each text, from the states of the tokens of all texts.
    fn pool(&mut self, states: &str) -> io::Result<ValueName> {
        if self.options.pooling == Pooling::Cls {
            // A text begins where those before it end.
            let axis = self.graph.i64s(&[0])?;
            let firsts = self.graph.node("CumSum", [LENGTHS, &axis], &[("exclusive", Attribute::Int(1))]);
            return Ok(self.graph.node("Gather", [states, &firsts], &[]));
        }
        let width = [(WIDTH, Attribute::Int(to_i64(self.shape.hidden)))];
        Ok(self.graph.custom(TEXT_MEAN, &[states, LENGTHS], &width))
    }

    /// Word plus position plus type, normalised.
    fn embeddings(&mut self) -> io::Result<ValueName> {
        let words = self.words()?;
        let table = self.position_table()?;
        let positions = self.graph.node("Gather", [&table, POSITIONS], &[]);
        let norm = &self.weights.embeddings.norm;
        let attributes = [
            (NORM_SCALE, Attribute::Floats(norm.scale.clone())),
            (NORM_BIAS, Attribute::Floats(norm.bias.clone())),
            (EPSILON, Attribute::Float(self.shape.epsilon)),
        ];
        Ok(self.graph.custom(ADD_NORM, &[&words, &positions], &attributes))
    }

    /// The rows of the word table, unchanged to the bit, except for dense tables in an 8-bit model.
    fn words(&mut self) -> io::Result<ValueName> {
        let table = &self.weights.embeddings.word;
        let (rows, hidden) = (self.shape.vocabulary, self.shape.hidden);
        let ids = "input_ids";
        match (self.options.precision, table.format()) {
            (_, Format::Q4) => {
                let bytes = table.row_bytes();
                let table = self.graph.streamed(ElementType::U8, &[rows, bytes], table.stored_rows())?;
                let width = [(WIDTH, Attribute::Int(to_i64(hidden)))];
                Ok(self.graph.custom(UNPACK_ROWS, &[ids, &table], &width))
            }
            (Precision::Int8, _) => {
                let (bytes, scales) = rows_in_8_bits(table);
                let bytes = self.graph.streamed(ElementType::I8, &[rows, hidden], bytes)?;
                let scales = self.graph.f32s(&[scales.len(), 1], &scales)?;
                let rows = self.graph.node("Gather", [&bytes, ids], &[]);
                let rows = self.graph.cast_to_f32(&rows);
                let scales = self.graph.node("Gather", [&scales, ids], &[]);
                Ok(self.graph.node("Mul", [&rows, &scales], &[]))
            }
            (_, Format::F16) => {
                let table = self.graph.streamed(ElementType::F16, &[rows, hidden], table.stored_rows())?;
                let rows = self.graph.node("Gather", [&table, ids], &[]);
                Ok(self.graph.cast_to_f32(&rows))
            }
            (_, Format::F32 | Format::Bf16) => {
                let table = self.graph.f32_rows(table)?;
                Ok(self.graph.node("Gather", [&table, ids], &[]))
            }
        }
    }

    /// The rows of the position table from the first position on, with the row of token type 0 in each.
    fn position_table(&mut self) -> io::Result<ValueName> {
        let hidden = self.shape.hidden;
        let values = self.weights.position_rows();
        self.graph.f32s(&[values.len() / hidden, hidden], &values)
    }

    fn layer(&mut self, state: &str, layer: &EncoderLayer, index: usize) -> io::Result<ValueName> {
        let kind = self.kind();
        let tables = self.options.smoothing.filter(|_| kind == Kind::Integer);
        let smoothing = tables.and_then(|table| table.layers.get(index));
        let mut attributes = vec![
            (HEADS.to_owned(), Attribute::Int(to_i64(self.shape.heads))),
            (EPSILON.to_owned(), Attribute::Float(self.shape.epsilon)),
        ];
        let mut floats = |name: String, values: Vec<f32>| attributes.push((name, Attribute::Floats(values)));
        for (product, norm) in [(OUTPUT, &layer.attention_norm), (NARROW, &layer.output_norm)] {
            floats(attribute_of(product, NORM_SCALE), norm.scale.clone());
            floats(attribute_of(product, NORM_BIAS), norm.bias.clone());
        }
        let of_one = |part: &LinearLayer| Dense::side_by_side(&[(part, 1.0)]);
        let (mut joint, mut wide, mut narrow) =
            (self.joint(layer), of_one(&layer.feed_forward_in), of_one(&layer.feed_forward_out));
        if let Some(table) = smoothing.filter(|table| !table.outliers.is_empty()) {
            let mut drop = vec![false; self.shape.feed_forward];
            table.outliers.iter().for_each(|&channel| drop[usize::from(channel)] = true);
            let (into, out);
            (wide, into) = wide.part_outputs(&drop);
            (narrow, out) = narrow.part_inputs(&drop);
            floats(OUTLIERS_INTO.to_owned(), into.by_output());
            floats(OUTLIERS_BIAS.to_owned(), into.bias);
            floats(OUTLIERS_OUT.to_owned(), out.values);
        }
        if let Some(table) = smoothing {
            let parts = [(JOINT, &mut joint, &table.attention), (WIDE, &mut wide, &table.feed_forward)];
            for (product, dense, exponents) in parts {
                dense.scale_inputs(exponents);
                // Each channel is multiplied by the inverse of its factor before it is quantised.
                let factors = exponents.iter().map(|&exponent| power_of_two(-exponent));
                floats(attribute_of(product, FACTORS), factors.collect());
            }
        }
        let mut inputs = vec![state.to_owned(), LENGTHS.to_owned()];
        let output = of_one(&layer.attention_output);
        for (product, dense) in [(JOINT, joint), (OUTPUT, output), (WIDE, wide), (NARROW, narrow)] {
            inputs.push(match kind {
                Kind::Integer => {
                    let quantised = dense.quantise();
                    floats(attribute_of(product, COLUMN_SCALES), quantised.scales);
                    floats(attribute_of(product, COLUMN_SUMS), quantised.sums);
                    let packed = pack_integer(&quantised.values, dense.outputs).map_err(io::Error::other)?;
                    let bytes: Vec<_> = packed.into_iter().map(i8::cast_unsigned).collect();
                    self.graph.constant(ElementType::I8, &[bytes.len()], &bytes)?
                }
                Kind::Words => {
                    let words = pack_words(&dense.values, dense.outputs).map_err(io::Error::other)?;
                    floats(attribute_of(product, COLUMN_SCALES), words.scales);
                    let bytes: Vec<_> = words.packed.iter().flat_map(|word| word.to_le_bytes()).collect();
                    self.graph.constant(ElementType::I16, &[words.packed.len()], &bytes)?
                }
                Kind::Single => {
                    let packed = pack_single(&dense.values, dense.outputs).map_err(io::Error::other)?;
                    self.graph.f32s(&[packed.len()], &packed)?
                }
            });
            floats(attribute_of(product, BIAS), dense.bias);
        }
        let inputs: Vec<_> = inputs.iter().map(String::as_str).collect();
        Ok(self.graph.custom(layer_of(kind), &inputs, &attributes))
    }

    /// What the weights of layers are.
    fn kind(&self) -> Kind {
        match self.options.precision {
            Precision::Int8 => Kind::Integer,
            Precision::Mixed => Kind::Words,
            Precision::F32 | Precision::Bf16 => Kind::Single,
        }
    }

    /// Queries, keys and values, head by head.
    fn joint(&self, layer: &EncoderLayer) -> Dense {
        let (hidden, heads, width) = (self.shape.hidden, self.shape.heads, self.shape.head_width());
        // The weights of attention are powers of two.
        let scale = std::f32::consts::LOG2_E / (width as f32).sqrt();
        let parts = [(&layer.query, scale), (&layer.key, 1.0), (&layer.value, 1.0)];
        let head = |head| (0..parts.len()).flat_map(move |part| (part * hidden + head * width..).take(width));
        Dense::side_by_side(&parts).columns(&(0..heads).flat_map(head).collect::<Vec<_>>())
    }
}
