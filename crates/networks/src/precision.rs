//! Precision of matrix products.

use tch::{Kind, TchError, Tensor};

use crate::bf16::Bf16Copies;

/// The type in which matrices are multiplied. Parameters, norms, the residual stream and the loss
/// keep their own.
#[derive(Debug, Clone, Copy)]
pub enum Precision<'a> {
    /// The parameters' own type.
    Full,
    /// bfloat16, as PyTorch's autocast multiplies.
    Bf16,
    /// [`Self::Bf16`] with weights that were cast once. The same results in fewer operations.
    Bf16Copies(&'a Bf16Copies),
}

impl Precision<'_> {
    /// Casts an activation for a matrix product; its gradient is cast back to its own type.
    pub(crate) fn cast(self, activation: &Tensor) -> Tensor {
        match self {
            Self::Full => activation.shallow_clone(),
            Self::Bf16 | Self::Bf16Copies(_) => activation.to_kind(Kind::BFloat16),
        }
    }

    /// Casts a weight or bias for a matrix product.
    pub(crate) fn weight(self, weight: &Tensor) -> Tensor {
        match self {
            Self::Full | Self::Bf16 => self.cast(weight),
            Self::Bf16Copies(copies) => copies.copy_of(weight),
        }
    }

    /// Returns the gradients of `scalar`, computed in this precision, with respect to `inputs`.
    ///
    /// A gradient is an undefined tensor if the scalar does not depend on that tensor.
    ///
    /// # Errors
    /// Fails if libtorch refuses, for want of memory.
    pub(crate) fn gradients(
        self,
        scalar: &Tensor,
        inputs: &[&Tensor],
    ) -> Result<Vec<Tensor>, TchError> {
        match self {
            Self::Full | Self::Bf16 => Tensor::f_run_backward(&[scalar], inputs, false, false),
            Self::Bf16Copies(copies) => copies.gradients(scalar, inputs),
        }
    }
}
