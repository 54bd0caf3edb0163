//! The mapper from image embeddings to prefix vectors.

use std::borrow::Borrow;

use tch::Tensor;
use tch::nn::{self, Init};

/// `clip_dim -> hidden * prefix_length / 2 -> hidden * prefix_length`, tanh between.
#[derive(Debug)]
pub struct MlpMapper {
    first: Linear,
    second: Linear,
    prefix_length: i64,
    hidden: i64,
}

impl MlpMapper {
    /// Adds its variables under `module`, initialised as PyTorch's `nn.Linear`.
    #[must_use]
    pub fn new<'a>(
        module: impl Borrow<nn::Path<'a>>,
        clip_dim: i64,
        hidden: i64,
        prefix_length: i64,
    ) -> Self {
        // ClipCap's MLP is a list of layers, of which 1 is the tanh.
        let layers = module.borrow() / "model";
        let (outputs, inner) = (hidden * prefix_length, hidden * prefix_length / 2);
        Self {
            first: Linear::new(&(&layers / 0), clip_dim, inner),
            second: Linear::new(&(&layers / 2), inner, outputs),
            prefix_length,
            hidden,
        }
    }

    /// Prefix vectors for each image.
    #[must_use]
    pub fn prefix_length(&self) -> i64 {
        self.prefix_length
    }

    /// Prefix vectors `[batch, prefix_length, hidden]` of image embeddings `[batch, clip_dim]`.
    pub fn forward(&self, embeddings: &Tensor) -> Tensor {
        let inner = self.first.forward(embeddings).tanh();
        self.second.forward(&inner).unflatten(1, [self.prefix_length, self.hidden])
    }
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// Weight `[outputs, inputs]` and bias uniform within `1 / sqrt(inputs)`: PyTorch's default,
    /// which tch's own linear layer does not share.
    fn new(module: &nn::Path, inputs: i64, outputs: i64) -> Self {
        let bound = 1.0 / (inputs as f64).sqrt();
        let uniform = Init::Uniform { lo: -bound, up: bound };
        Self {
            weight: module.var("weight", &[outputs, inputs], uniform),
            bias: module.var("bias", &[outputs], uniform),
        }
    }

    fn forward(&self, inputs: &Tensor) -> Tensor {
        inputs.linear(&self.weight, Some(&self.bias))
    }
}
