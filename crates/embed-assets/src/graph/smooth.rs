//! Tables of channels with large activations, which the 8-bit graph needs to stay accurate.
//!
//! An 8-bit product quantises a row of activations with one scale. So a channel that is ten times as large as the others
//! costs these three of their eight bits. Models of this family have such channels at three of the four products of a
//! layer. There are two remedies:
//!
//! - **Smoothing** (SmoothQuant, Xiao et al. 2022) before attention and before the feed-forward part: a
//!   channel is divided by a factor and its weights are multiplied by the same factor. The factors are powers of two, so
//!   both operations are exact and the file is the same on every machine.
//! - **Keeping outliers in single precision** (as LLM.int8 does, Dettmers et al. 2022) in the middle of the feed-forward
//!   part, where one to ten channels out of 1536 reach up to fifty times the others' range. They are computed
//!   in float32 in addition to the 8-bit product. Smoothing alone fails here: it enlarges channels that are usually quiet,
//!   so that a text that activates one of them loses everything else (down to a cosine of 0.988).
//!
//! The context of the attention needs neither.

use std::fmt::Write as _;

use embed_core::{Error, ErrorKind};

use crate::weights::{EncoderShape, EncoderWeights, LinearLayer};

/// How much of a channel's excess goes to its weights. 0.5 to 0.8 differ by 0.0001 on average; 0.6 had the
/// best worst case on texts that were not calibrated on.
pub const STRENGTH: f32 = 0.6;

/// Outlier channels in each layer. A float32 product makes 16 columns at a time, so fewer are no
/// faster; 32 gain nothing.
pub const OUTLIERS: usize = 16;

/// No factor is larger than two to the power of this, or smaller than its inverse.
const LARGEST_EXPONENT: i8 = 12;

/// The smallest magnitude that counts. Otherwise a channel that no text of the calibration activated would get an infinite
/// factor.
const SMALLEST: f32 = 1e-5;

/// The tables of calibrated models; data/README.md says how they were made.
const TABLES: [(&str, &str); 2] = [
    ("multilingual-e5-small", include_str!("../../data/multilingual-e5-small.smoothing")),
    ("all-minilm-l6-v2", include_str!("../../data/all-minilm-l6-v2.smoothing")),
];

/// The first line of a table.
const HEADER: &str = "smoothing 3";

/// What to do at each layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Smoothing {
    /// The layers, from the input on.
    pub layers: Vec<LayerSmoothing>,
}

/// What to do in one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSmoothing {
    /// The input of attention is divided by two to the power of these, one for each channel.
    pub attention: Vec<i8>,
    /// So is the input of the feed-forward part.
    pub feed_forward: Vec<i8>,
    /// Channels inside the feed-forward part that are computed in float32, in ascending order.
    pub outliers: Vec<u16>,
}

/// The largest magnitudes that the channels of one layer reached over the texts of a calibration.
#[derive(Debug, Clone)]
pub struct LayerMaxima {
    /// Of the input of attention.
    pub attention: Vec<f32>,
    /// Of the input of the feed-forward part.
    pub feed_forward: Vec<f32>,
    /// Of the middle of the feed-forward part, after GELU.
    pub middle: Vec<f32>,
}

impl Smoothing {
    /// The table of a calibrated model.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the table of this build is damaged.
    pub fn of_model(name: &str) -> Result<Option<Self>, Error> {
        let table = TABLES.iter().find(|(model, _)| *model == name);
        table.map(|(_, text)| Self::parse(text)).transpose()
    }

    /// Makes a table from what a calibration measured.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the measurements aren't of this model.
    pub fn from_maxima(weights: &EncoderWeights, maxima: &[LayerMaxima]) -> Result<Self, Error> {
        if maxima.len() != weights.layers.len() {
            return Err(unfit("the calibration has another number of layers than the model"));
        }
        let layers = weights.layers.iter().zip(maxima).map(|(layer, maxima)| LayerSmoothing {
            attention: exponents(&maxima.attention, &[&layer.query, &layer.key, &layer.value]),
            feed_forward: exponents(&maxima.feed_forward, &[&layer.feed_forward_in]),
            outliers: largest_channels(&maxima.middle),
        });
        let smoothing = Self { layers: layers.collect() };
        smoothing.check(&weights.shape)?;
        Ok(smoothing)
    }

    /// Checks that the table belongs to a model of this shape.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if it doesn't.
    pub fn check(&self, shape: &EncoderShape) -> Result<(), Error> {
        let fits = |layer: &LayerSmoothing| {
            layer.attention.len() == shape.hidden
                && layer.feed_forward.len() == shape.hidden
                && layer.outliers.len() < shape.feed_forward
                && layer.outliers.is_sorted_by(|left, right| left < right)
                && layer.outliers.last().is_none_or(|&last| usize::from(last) < shape.feed_forward)
        };
        if self.layers.len() == shape.layers && self.layers.iter().all(fits) {
            return Ok(());
        }
        Err(unfit("the smoothing table belongs to another model").with_context("layers", self.layers.len()))
    }

    /// Reads a table: the header, then three lines for each layer, each a word and its numbers. Lines that
    /// begin with `#` are comments.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the text isn't a table.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        if lines.next() != Some(HEADER) {
            return Err(unfit("the smoothing table has an unknown header"));
        }
        let mut layers = Vec::new();
        while let Some(line) = lines.next() {
            layers.push(LayerSmoothing {
                attention: numbers(Some(line), "attention")?,
                feed_forward: numbers(lines.next(), "feed_forward")?,
                outliers: numbers(lines.next(), "outliers")?,
            });
        }
        Ok(Self { layers })
    }

    /// The table as text, as [`parse`](Self::parse) reads it.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        for layer in &self.layers {
            line(&mut text, "attention", &layer.attention);
            line(&mut text, "feed_forward", &layer.feed_forward);
            line(&mut text, "outliers", &layer.outliers);
        }
        text
    }
}

/// The error of a table that can't be used, whether it is part of this program or the caller's.
fn unfit(message: &'static str) -> Error {
    Error::new(ErrorKind::Config, message)
}

fn line(text: &mut String, name: &str, numbers: &[impl std::fmt::Display]) {
    text.push_str(name);
    for number in numbers {
        // Writing to a string can't fail.
        let _ = write!(text, " {number}");
    }
    text.push('\n');
}

fn numbers<T: std::str::FromStr>(line: Option<&str>, name: &'static str) -> Result<Vec<T>, Error> {
    let wrong = || unfit("a line of the smoothing table can't be read").with_context("line", name);
    let mut words = line.ok_or_else(wrong)?.split(' ');
    if words.next() != Some(name) {
        return Err(wrong());
    }
    words.map(|word| word.parse().map_err(|_| wrong())).collect()
}

/// SmoothQuant's factor `max|x|^s / max|w|^(1−s)` of each channel, divided by the geometric mean of all,
/// as the nearest power of two.
fn exponents(activations: &[f32], consumers: &[&LinearLayer]) -> Vec<i8> {
    let mut weights = vec![0.0_f32; activations.len()];
    let mut row = vec![0.0; activations.len()];
    for consumer in consumers {
        for output in 0..consumer.weight.rows() {
            consumer.weight.read_row(output, &mut row);
            for (largest, value) in weights.iter_mut().zip(&row) {
                *largest = largest.max(value.abs());
            }
        }
    }
    let pairs = activations.iter().zip(&weights);
    let logarithms: Vec<f32> = pairs
        .map(|(x, w)| STRENGTH * x.max(SMALLEST).log2() - (1.0 - STRENGTH) * w.max(SMALLEST).log2())
        .collect();
    let mean = logarithms.iter().sum::<f32>() / logarithms.len().max(1) as f32;
    let limit = f32::from(LARGEST_EXPONENT);
    logarithms.iter().map(|value| (value - mean).round_ties_even().clamp(-limit, limit) as i8).collect()
}

/// The channels that reached the largest magnitudes, in ascending order.
fn largest_channels(maxima: &[f32]) -> Vec<u16> {
    let mut channels: Vec<u16> = (0..=u16::MAX).take(maxima.len()).collect();
    channels.sort_by(|&left, &right| maxima[usize::from(right)].total_cmp(&maxima[usize::from(left)]));
    channels.truncate(OUTLIERS);
    channels.sort_unstable();
    channels
}
