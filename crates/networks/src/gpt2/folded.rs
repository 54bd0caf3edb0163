//! Feed-forward layers in the form that decoding on a GPU uses.

use tch::Tensor;

/// Feed-forward layer whose output bias is a row of the output weight.
///
/// An extra hidden unit has activation 8 for any input, and an eighth of the bias as its row. So
/// one kernel adds product, bias and residual stream.
#[derive(Debug)]
pub(super) struct FoldedFeedForward {
    /// `[hidden, inner + 8]`
    pub inner_weight: Tensor,
    /// `[inner + 8]`
    pub inner_bias: Tensor,
    /// `[inner + 8, hidden]`
    pub output_weight: Tensor,
}

impl FoldedFeedForward {
    /// Number of extra units, of which one is used: GPUs prefer sizes that are multiples of 8.
    pub const UNITS: i64 = 8;
    /// Value that every activation maps to itself, and that divides without rounding.
    pub const ACTIVE: f64 = 8.0;
}
