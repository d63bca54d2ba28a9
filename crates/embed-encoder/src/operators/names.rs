//! The names of the operators and of their attributes in model files, and the widths that they take.

use embed_kernels::LANES;

/// The domain of the operators.
pub const DOMAIN: &str = "embed";

/// The version of the operators.
pub const VERSION: i64 = 1;

/// The suffix of operators that take an 8-bit product.
pub const INTEGER: &str = "Integer";

/// Unpacks rows of a table of 4-bit blocks ([`WIDTH`]).
pub const UNPACK_ROWS: &str = "UnpackRows";

/// Adds a product and its bias to a residual, and normalises the sum ([`BIAS`], [`NORM_SCALE`], [`NORM_BIAS`],
/// [`EPSILON`]). The second output is the state plus a few channels of the feed-forward part
/// ([`OUTLIERS_INTO`], [`OUTLIERS_BIAS`], [`OUTLIERS_OUT`]); the third and the fourth are the state in 8 bits, multiplied by
/// [`FACTORS`] before.
pub const ADD_NORM: &str = "AddNorm";

/// Attention within each text ([`BIAS`], [`HEADS`]). The product holds queries, keys and values.
pub const ATTENTION: &str = "Attention";

/// GELU of a product and its bias ([`BIAS`]).
pub const GELU: &str = "Gelu";

/// The mean of the states of each text ([`WIDTH`]).
pub const TEXT_MEAN: &str = "TextMean";

/// The bias of a product, one for each column.
pub const BIAS: &str = "bias";
/// The scales of 8-bit weights, one for each column.
pub const COLUMN_SCALES: &str = "column_scales";
/// The sums of the columns of 8-bit weights, times their scales.
pub const COLUMN_SUMS: &str = "column_sums";
/// The scale of a normalisation, one for each channel.
pub const NORM_SCALE: &str = "norm_scale";
/// The bias of a normalisation, one for each channel.
pub const NORM_BIAS: &str = "norm_bias";
/// The epsilon of a normalisation.
pub const EPSILON: &str = "epsilon";
/// Factors of the channels, applied before they are quantised.
pub const FACTORS: &str = "factors";
/// The weights into outlier channels: for each channel those of all inputs.
pub const OUTLIERS_INTO: &str = "apart_into";
/// The bias of outlier channels.
pub const OUTLIERS_BIAS: &str = "apart_bias";
/// The weights out of outlier channels: for each channel those of all outputs.
pub const OUTLIERS_OUT: &str = "apart_out";
/// How many heads attention has.
pub const HEADS: &str = "heads";
/// Values of a row.
pub const WIDTH: &str = "width";

/// The width of a head is a multiple of this.
pub const HEAD_STEP: usize = 2 * LANES;
/// The width of every other row is a multiple of this.
pub const ROW_STEP: usize = LANES;
