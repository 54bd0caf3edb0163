//! How a forward pass is computed.

use tch::{Kind, Tensor};

/// Whether dropout is active, and in which type matrices are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Whether dropout is active.
    pub dropout: bool,
    /// The type of matrix products.
    pub precision: Precision,
}

impl Pass {
    /// With dropout, in the parameters' own type.
    pub const TRAINING: Self = Self { dropout: true, precision: Precision::Full };
    /// Without dropout, in the parameters' own type.
    pub const EVALUATION: Self = Self { dropout: false, precision: Precision::Full };
}

/// The type in which matrices are multiplied. Parameters, norms, the residual stream and the loss
/// keep their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// The parameters' own type.
    Full,
    /// bfloat16, as PyTorch's autocast multiplies.
    Bf16,
}

impl Precision {
    /// `tensor` as it enters a product; the gradient goes back in the tensor's own type.
    pub(crate) fn cast(self, tensor: &Tensor) -> Tensor {
        match self {
            Self::Full => tensor.shallow_clone(),
            Self::Bf16 => tensor.to_kind(Kind::BFloat16),
        }
    }
}
