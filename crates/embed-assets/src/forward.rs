//! The network as it is defined, step by step in single precision: what calibration measures, and what tests hold the graphs
//! against. It is slow.

use crate::weights::{EncoderLayer, EncoderWeights, LinearLayer, Norm};

/// A network that is ready to run.
#[derive(Debug)]
pub struct Forward<'a> {
    weights: &'a EncoderWeights,
    positions: Vec<f32>,
    layers: Vec<Layer<'a>>,
}

#[derive(Debug)]
struct Layer<'a> {
    of: &'a EncoderLayer,
    query: Product,
    key: Product,
    value: Product,
    attention_output: Product,
    feed_forward_in: Product,
    feed_forward_out: Product,
}

/// A linear layer with one row of weights for each input.
#[derive(Debug)]
struct Product {
    by_input: Vec<f32>,
    bias: Vec<f32>,
}

/// Sees the rows that a product takes: the layer, the product, and the rows.
type Observer<'o> = dyn FnMut(usize, Tap, &[f32]) + 'o;

/// A place where calibration measures activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tap {
    Attention,
    FeedForward,
    Middle,
}

impl<'a> Forward<'a> {
    /// Prepares the network, which takes as much memory as its layers in f32.
    #[must_use]
    pub fn new(weights: &'a EncoderWeights) -> Self {
        let layer = |of: &'a EncoderLayer| Layer {
            of,
            query: Product::new(&of.query),
            key: Product::new(&of.key),
            value: Product::new(&of.value),
            attention_output: Product::new(&of.attention_output),
            feed_forward_in: Product::new(&of.feed_forward_in),
            feed_forward_out: Product::new(&of.feed_forward_out),
        };
        let layers = weights.layers.iter().map(layer).collect();
        Self { weights, positions: weights.position_rows(), layers }
    }

    /// The states of the tokens of one text after the last layer, one row of the hidden width for each.
    ///
    /// # Panics
    ///
    /// If an id is outside of the vocabulary, or there are more tokens than positions.
    #[must_use]
    pub fn states(&self, ids: &[u32]) -> Vec<f32> {
        self.observed(ids, &mut |_, _, _| ())
    }

    pub(crate) fn observed(&self, ids: &[u32], observe: &mut Observer<'_>) -> Vec<f32> {
        let hidden = self.weights.shape.hidden;
        let mut state = vec![0.0; ids.len() * hidden];
        for ((row, &id), position) in
            state.chunks_exact_mut(hidden).zip(ids).zip(self.positions.chunks_exact(hidden))
        {
            self.weights.embeddings.word.read_row(id as usize, row);
            row.iter_mut().zip(position).for_each(|(value, position)| *value += position);
        }
        self.normalise(&mut state, &self.weights.embeddings.norm);
        for (index, layer) in self.layers.iter().enumerate() {
            observe(index, Tap::Attention, &state);
            let context = self.attention(layer, &state);
            self.add_norm(&mut state, &layer.attention_output.of(&context), &layer.of.attention_norm);
            observe(index, Tap::FeedForward, &state);
            let mut middle = layer.feed_forward_in.of(&state);
            middle.iter_mut().for_each(|value| *value = gelu(*value));
            observe(index, Tap::Middle, &middle);
            self.add_norm(&mut state, &layer.feed_forward_out.of(&middle), &layer.of.output_norm);
        }
        state
    }

    fn attention(&self, layer: &Layer<'_>, state: &[f32]) -> Vec<f32> {
        let (hidden, width) = (self.weights.shape.hidden, self.weights.shape.head_width());
        let [queries, keys, values] = [&layer.query, &layer.key, &layer.value].map(|part| part.of(state));
        let mut context = vec![0.0; state.len()];
        let scale = (width as f32).sqrt().recip();
        for (query, out) in queries.chunks_exact(hidden).zip(context.chunks_exact_mut(hidden)) {
            for head in (0..hidden).step_by(width) {
                let part = head..head + width;
                let query = &query[part.clone()];
                let score = |key: &[f32]| {
                    query.iter().zip(&key[part.clone()]).map(|(q, k)| q * k).sum::<f32>() * scale
                };
                let scores: Vec<f32> = keys.chunks_exact(hidden).map(score).collect();
                let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let weights: Vec<f32> = scores.iter().map(|score| (score - largest).exp()).collect();
                let sum: f32 = weights.iter().sum();
                for (weight, value) in weights.iter().zip(values.chunks_exact(hidden)) {
                    let value = value[part.clone()].iter();
                    out[part.clone()]
                        .iter_mut()
                        .zip(value)
                        .for_each(|(out, value)| *out += weight / sum * value);
                }
            }
        }
        context
    }

    fn add_norm(&self, state: &mut [f32], added: &[f32], norm: &Norm) {
        state.iter_mut().zip(added).for_each(|(value, added)| *value += added);
        self.normalise(state, norm);
    }

    fn normalise(&self, rows: &mut [f32], norm: &Norm) {
        let width = self.weights.shape.hidden;
        for row in rows.chunks_exact_mut(width) {
            let mean = row.iter().sum::<f32>() / width as f32;
            let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / width as f32;
            let factor = (variance + self.weights.shape.epsilon).sqrt().recip();
            for ((value, scale), bias) in row.iter_mut().zip(&norm.scale).zip(&norm.bias) {
                *value = (*value - mean) * factor * scale + bias;
            }
        }
    }
}

impl Product {
    fn new(linear: &LinearLayer) -> Self {
        let (outputs, inputs) = (linear.weight.rows(), linear.weight.columns());
        let mut by_input = vec![0.0; outputs * inputs];
        let mut row = vec![0.0; inputs];
        for output in 0..outputs {
            linear.weight.read_row(output, &mut row);
            for (input, &value) in row.iter().enumerate() {
                by_input[input * outputs + output] = value;
            }
        }
        Self { by_input, bias: linear.bias.clone() }
    }

    fn of(&self, rows: &[f32]) -> Vec<f32> {
        let outputs = self.bias.len();
        let inputs = self.by_input.len() / outputs;
        let mut out = self.bias.repeat(rows.len() / inputs);
        for (row, out) in rows.chunks_exact(inputs).zip(out.chunks_exact_mut(outputs)) {
            for (value, weights) in row.iter().zip(self.by_input.chunks_exact(outputs)) {
                out.iter_mut().zip(weights).for_each(|(out, weight)| *out += value * weight);
            }
        }
        out
    }
}

/// GELU by the error function, as BERT has it.
fn gelu(value: f32) -> f32 {
    0.5 * value * (1.0 + libm::erff(value * std::f32::consts::FRAC_1_SQRT_2))
}
