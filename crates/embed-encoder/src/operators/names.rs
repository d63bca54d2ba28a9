//! The names of the operators and of their attributes in model files, and the widths that they take.

use embed_kernels::{Kind, LANES};

/// The domain of the operators.
pub const DOMAIN: &str = "embed";

/// The version of the operators.
pub const VERSION: i64 = 1;

/// Unpacks rows of a table of 4-bit blocks ([`WIDTH`]).
pub const UNPACK_ROWS: &str = "UnpackRows";

/// Adds rows to a residual, and normalises the sum ([`NORM_SCALE`], [`NORM_BIAS`], [`EPSILON`]).
pub const ADD_NORM: &str = "AddNorm";

/// The mean of the states of each text ([`WIDTH`]).
pub const TEXT_MEAN: &str = "TextMean";

/// The operator of a whole layer, by what its weights are.
///
/// Attributes that belong to a product are [named after it](attribute_of): [`BIAS`] of each; [`COLUMN_SCALES`] of each with
/// weights in 8 or 16 bits, [`COLUMN_SUMS`] of each in 8 bits; [`FACTORS`] of [`JOINT`] and [`WIDE`]; [`NORM_SCALE`] and [`NORM_BIAS`] of
/// [`OUTPUT`] and [`NARROW`], after which the state is normalised. The others are [`HEADS`], [`EPSILON`], [`OUTLIERS_INTO`],
/// [`OUTLIERS_BIAS`] and [`OUTLIERS_OUT`]. Factors and outlier channels may be absent.
#[must_use]
pub fn layer_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Single => "LayerSingle",
        Kind::Words => "LayerWords",
        Kind::Integer => "LayerInteger",
    }
}

/// Every kind of layer.
pub const LAYER_KINDS: [Kind; 3] = [Kind::Single, Kind::Words, Kind::Integer];

/// The product for queries, keys and values, head by head.
pub const JOINT: &str = "joint";
/// The product that follows attention.
pub const OUTPUT: &str = "output";
/// The first product of the feed-forward part.
pub const WIDE: &str = "wide";
/// The second product of the feed-forward part.
pub const NARROW: &str = "narrow";
/// The products of a layer, in the order in which their weights are inputs of its operator.
pub const PRODUCTS: [&str; 4] = [JOINT, OUTPUT, WIDE, NARROW];
/// The inputs of the operator of a layer that come before its weights: the state, and the tokens of each text.
pub const INPUTS_BEFORE_WEIGHTS: usize = 2;

/// The name of an attribute that belongs to one of the [`PRODUCTS`].
#[must_use]
pub fn attribute_of(product: &str, name: &str) -> String {
    format!("{product}_{name}")
}

/// The bias of a product, one for each column.
pub const BIAS: &str = "bias";
/// The scales of weights in 8 or 16 bits, one for each column.
pub const COLUMN_SCALES: &str = "column_scales";
/// The sums of the columns of 8-bit weights, times their scales.
pub const COLUMN_SUMS: &str = "column_sums";
/// The scale of a normalisation, one for each channel.
pub const NORM_SCALE: &str = "norm_scale";
/// The bias of a normalisation, one for each channel.
pub const NORM_BIAS: &str = "norm_bias";
/// The epsilon of a normalisation.
pub const EPSILON: &str = "epsilon";
/// Factors of the channels that a product takes, applied before they are quantised.
pub const FACTORS: &str = "factors";
/// The weights into outlier channels: for each channel those of all inputs.
pub const OUTLIERS_INTO: &str = "outliers_into";
/// The bias of outlier channels.
pub const OUTLIERS_BIAS: &str = "outliers_bias";
/// The weights out of outlier channels: for each channel those of all outputs.
pub const OUTLIERS_OUT: &str = "outliers_out";
/// How many heads attention has.
pub const HEADS: &str = "heads";
/// Values of a row.
pub const WIDTH: &str = "width";

/// The width of a head is a multiple of this.
pub const HEAD_STEP: usize = 2 * LANES;
/// The width of every other row is a multiple of this.
pub const ROW_STEP: usize = LANES;
