//! The network: an encoder of the BERT family as matrix products and the operators of
//! [`embed_encoder::operators`], which do all the work between two products in one pass.
//!
//! The tokens of all texts are the rows of two-dimensional matrices: nothing is padded, and only attention and the
//! mean know which rows belong together. So texts of any lengths can share a run, and the vector of a text is the same to
//! the bit whatever other texts are in the run: products and everything else work row by row.
//!
//! Design decisions:
//!
//! - One product computes queries, keys and values; the scale of attention is a part of the queries.
//! - Biases and scales are applied by the operator that reads a product, since it reads every number anyway.
//! - Each row of an 8-bit product has its own scale and lowest value. One scale for a run would make texts depend on each
//!   other, and a fixed one would have to be wide enough for every text.
//! - Weights are whole numbers from −127 to 127, activations from 0 to 127. Processors without VNNI add two products at a
//!   time in 16 bits, which these can't overflow: so one file gives the same sums on every processor. Seven bits for the
//!   weights and eight for the activations would fit, too, but are less accurate (data/README.md).

use std::io::{self, Write};

use embed_core::Pooling;
use embed_encoder::assets::{LENGTHS, POSITIONS};
use embed_encoder::operators::{
    ADD_NORM, ATTENTION, BIAS, COLUMN_SCALES, COLUMN_SUMS, EPSILON, FACTORS, GELU, HEADS, INTEGER, NORM_BIAS,
    NORM_SCALE, OUTLIERS_BIAS, OUTLIERS_INTO, OUTLIERS_OUT, TEXT_MEAN, UNPACK_ROWS, WIDTH,
};

use super::builder::{Attribute, GraphBuilder, ValueName, to_i64};
use super::onnx::ElementType;
use super::options::{GraphOptions, Precision};
use super::quantise::{Dense, power_of_two, rows_in_8_bits};
use super::smooth::LayerSmoothing;
use crate::weights::{EncoderLayer, EncoderShape, EncoderWeights, Format, Norm};

/// A network that is being written.
pub(super) struct Network<'a, W: Write> {
    graph: GraphBuilder<W>,
    weights: &'a EncoderWeights,
    shape: EncoderShape,
    options: &'a GraphOptions<'a>,
}

/// The arithmetic of a matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arithmetic {
    Single,
    Integer,
}

/// Rows as a product takes them.
enum TokenRows {
    Single(ValueName),
    /// The bytes, and the scales of the rows.
    Quantised(ValueName, ValueName),
}

/// The output of a product: inputs and attributes of the operator that reads it.
struct ProductNode {
    inputs: Vec<ValueName>,
    attributes: Vec<(&'static str, Attribute)>,
    arithmetic: Arithmetic,
}

/// The state of all tokens.
struct TokenState {
    value: ValueName,
    /// The state plus outlier channels, else the state.
    residual: ValueName,
    rows: TokenRows,
}

/// The outputs that a normalisation has in addition to the state.
struct WantedOutputs {
    arithmetic: Arithmetic,
    factors: Option<Vec<f32>>,
    /// The weights into and out of outlier channels.
    outliers: Option<(Dense, Dense)>,
}

/// The 8-bit parts of a layer.
#[derive(Clone, Copy)]
struct LayerPlan<'a> {
    smoothing: Option<&'a LayerSmoothing>,
    /// The arithmetic of all products but the last one.
    most: Arithmetic,
    /// The arithmetic of the second product of the feed-forward part.
    last: Arithmetic,
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
            state = self.layer(state, layer, index)?;
        }
        let pooled = self.pool(&state.value)?;
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
        Ok(self.graph.custom(TEXT_MEAN, &[states, LENGTHS], &[true], &width).swap_remove(0))
    }

    fn plan(&self, index: usize) -> LayerPlan<'a> {
        let smoothing = self.options.smoothing.and_then(|table| table.layers.get(index));
        let (most, last) = match self.options.precision {
            Precision::Int8 => (Arithmetic::Integer, Arithmetic::Integer),
            Precision::Mixed if 3 * index < 2 * self.shape.layers && smoothing.is_some() => {
                (Arithmetic::Single, Arithmetic::Integer)
            }
            Precision::Mixed | Precision::F32 | Precision::Bf16 => (Arithmetic::Single, Arithmetic::Single),
        };
        LayerPlan { smoothing: smoothing.filter(|_| last == Arithmetic::Integer), most, last }
    }

    /// Word plus position plus type, normalised.
    fn embeddings(&mut self) -> io::Result<TokenState> {
        let words = self.words()?;
        let table = self.position_table()?;
        let positions = self.graph.node("Gather", [&table, POSITIONS], &[]);
        let product = ProductNode {
            inputs: vec![words],
            attributes: vec![(BIAS, Attribute::Floats(vec![0.0; self.shape.hidden]))],
            arithmetic: Arithmetic::Single,
        };
        let weights = self.weights;
        let wanted = self.before_attention(0);
        self.add_norm(product, &positions, &weights.embeddings.norm, wanted)
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
                Ok(self.graph.custom(UNPACK_ROWS, &[ids, &table], &[true], &width).swap_remove(0))
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

    fn layer(&mut self, state: TokenState, layer: &EncoderLayer, index: usize) -> io::Result<TokenState> {
        let plan = self.plan(index);
        let context = self.attention(&state.rows, layer, plan)?;
        let dense = Dense::side_by_side(&[(&layer.attention_output, 1.0)]);
        let output = self.linear(&context, &dense)?;
        let (wide, narrow, outliers) = self.feed_forward(layer, plan);
        let wanted = WantedOutputs {
            arithmetic: plan.most,
            factors: self.factors(plan.smoothing.map(|layer| &*layer.feed_forward)),
            outliers,
        };
        let state = self.add_norm(output, &state.residual, &layer.attention_norm, wanted)?;
        let middle = self.linear(&state.rows, &wide)?;
        let middle = self.gelu(middle, plan.last);
        let output = self.linear(&middle, &narrow)?;
        let wanted = self.before_attention(index + 1);
        self.add_norm(output, &state.residual, &layer.output_norm, wanted)
    }

    /// What the attention of a layer needs as its input; nothing after the last layer.
    fn before_attention(&self, index: usize) -> WantedOutputs {
        let plan = self.plan(index);
        if index >= self.shape.layers {
            return WantedOutputs { arithmetic: Arithmetic::Single, factors: None, outliers: None };
        }
        let factors = self.factors(plan.smoothing.map(|layer| &*layer.attention));
        WantedOutputs { arithmetic: plan.most, factors, outliers: None }
    }

    /// The context of each head over all tokens of its text.
    fn attention(
        &mut self,
        rows: &TokenRows,
        layer: &EncoderLayer,
        plan: LayerPlan<'_>,
    ) -> io::Result<TokenRows> {
        // The weights of attention are powers of two.
        let scale = std::f32::consts::LOG2_E / (self.shape.head_width() as f32).sqrt();
        let parts = [(&layer.query, scale), (&layer.key, 1.0), (&layer.value, 1.0)];
        let mut dense = Dense::side_by_side(&parts);
        self.smooth(&mut dense, plan.smoothing.map(|layer| &*layer.attention));
        let joint = self.linear(rows, &dense)?;
        let heads = (HEADS, Attribute::Int(to_i64(self.shape.heads)));
        Ok(self.reader(ATTENTION, joint, &[LENGTHS], vec![heads], plan.most))
    }

    fn gelu(&mut self, product: ProductNode, next: Arithmetic) -> TokenRows {
        self.reader(GELU, product, &[], Vec::new(), next)
    }

    /// An operator that reads a product and makes the rows for the next one.
    fn reader(
        &mut self,
        name: &str,
        product: ProductNode,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
        next: Arithmetic,
    ) -> TokenRows {
        let name = product.operator(name);
        let inputs: Vec<&str> =
            product.inputs.iter().map(String::as_str).chain(inputs.iter().copied()).collect();
        let attributes: Vec<_> = product.attributes.into_iter().chain(attributes).collect();
        let quantised = next == Arithmetic::Integer;
        let outputs = self.graph.custom(&name, &inputs, &[!quantised, quantised, quantised], &attributes);
        let [single, bytes, scales] = outputs.try_into().unwrap_or_default();
        if quantised { TokenRows::Quantised(bytes, scales) } else { TokenRows::Single(single) }
    }

    /// The two products of the feed-forward part, and the outlier channels between them.
    fn feed_forward(
        &self,
        layer: &EncoderLayer,
        plan: LayerPlan<'_>,
    ) -> (Dense, Dense, Option<(Dense, Dense)>) {
        let mut wide = Dense::side_by_side(&[(&layer.feed_forward_in, 1.0)]);
        let mut narrow = Dense::side_by_side(&[(&layer.feed_forward_out, 1.0)]);
        let mut outliers = None;
        if let Some(layer) = plan.smoothing.filter(|layer| !layer.outliers.is_empty()) {
            let mut drop = vec![false; self.shape.feed_forward];
            layer.outliers.iter().for_each(|&channel| drop[usize::from(channel)] = true);
            let (outliers_in, outliers_out);
            (wide, outliers_in) = wide.part_outputs(&drop);
            (narrow, outliers_out) = narrow.part_inputs(&drop);
            outliers = Some((outliers_in, outliers_out));
        }
        self.smooth(&mut wide, plan.smoothing.map(|layer| &*layer.feed_forward));
        (wide, narrow, outliers)
    }

    /// Multiplies the weights of each channel by its factor.
    fn smooth(&self, dense: &mut Dense, exponents: Option<&[i8]>) {
        if let Some(exponents) = exponents.filter(|_| self.options.precision == Precision::Int8) {
            dense.scale_inputs(exponents);
        }
    }

    /// The number that each channel is multiplied by before it is quantised: the inverse of its factor.
    fn factors(&self, exponents: Option<&[i8]>) -> Option<Vec<f32>> {
        let exponents = exponents.filter(|_| self.options.precision == Precision::Int8)?;
        Some(exponents.iter().map(|&exponent| power_of_two(-exponent)).collect())
    }

    /// A product of rows, in the arithmetic of the rows.
    fn linear(&mut self, rows: &TokenRows, dense: &Dense) -> io::Result<ProductNode> {
        let dims = [dense.inputs, dense.outputs];
        let bias = (BIAS, Attribute::Floats(dense.bias.clone()));
        match rows {
            TokenRows::Single(rows) => {
                let matrix = self.graph.f32s(&dims, &dense.values)?;
                let product = self.graph.node("MatMul", [rows, &matrix], &[]);
                Ok(ProductNode {
                    inputs: vec![product],
                    attributes: vec![bias],
                    arithmetic: Arithmetic::Single,
                })
            }
            TokenRows::Quantised(bytes, scales) => {
                let quantised = dense.quantise();
                let matrix = self.graph.constant(ElementType::I8, &dims, &quantised.bytes)?;
                let product = self.graph.node("MatMulInteger", [bytes, &matrix], &[]);
                let scales_of_columns = (COLUMN_SCALES, Attribute::Floats(quantised.scales));
                let sums = (COLUMN_SUMS, Attribute::Floats(quantised.sums));
                Ok(ProductNode {
                    inputs: vec![product, scales.clone()],
                    attributes: vec![bias, scales_of_columns, sums],
                    arithmetic: Arithmetic::Integer,
                })
            }
        }
    }

    fn add_norm(
        &mut self,
        product: ProductNode,
        residual: &str,
        norm: &Norm,
        wanted: WantedOutputs,
    ) -> io::Result<TokenState> {
        let name = product.operator(ADD_NORM);
        let inputs: Vec<&str> = product.inputs.iter().map(String::as_str).chain([residual]).collect();
        let mut attributes = product.attributes;
        attributes.push((NORM_SCALE, Attribute::Floats(norm.scale.clone())));
        attributes.push((NORM_BIAS, Attribute::Floats(norm.bias.clone())));
        attributes.push((EPSILON, Attribute::Float(self.shape.epsilon)));
        attributes.extend(wanted.factors.map(|factors| (FACTORS, Attribute::Floats(factors))));
        let has_outliers = wanted.outliers.is_some();
        if let Some((into, out)) = wanted.outliers {
            attributes.push((OUTLIERS_INTO, Attribute::Floats(into.by_output())));
            attributes.push((OUTLIERS_BIAS, Attribute::Floats(into.bias)));
            attributes.push((OUTLIERS_OUT, Attribute::Floats(out.values)));
        }
        let quantised = wanted.arithmetic == Arithmetic::Integer;
        let outputs =
            self.graph.custom(&name, &inputs, &[true, has_outliers, quantised, quantised], &attributes);
        let [value, sum, bytes, scales] = outputs.try_into().unwrap_or_default();
        let rows =
            if quantised { TokenRows::Quantised(bytes, scales) } else { TokenRows::Single(value.clone()) };
        let residual = if has_outliers { sum } else { value.clone() };
        Ok(TokenState { value, residual, rows })
    }
}

impl ProductNode {
    /// The name of an operator for this kind of product.
    fn operator(&self, name: &str) -> String {
        match self.arithmetic {
            Arithmetic::Single => name.to_owned(),
            Arithmetic::Integer => format!("{name}{INTEGER}"),
        }
    }
}
