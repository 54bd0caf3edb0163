//! ClipCap's MLP mapper: `clip_dim -> hidden * prefix_length / 2 -> hidden * prefix_length` with
//! tanh.

use tch::Tensor;

use super::linear::Linear;
use crate::layers::Builder;
use crate::pass::Pass;

#[derive(Debug)]
pub(in crate::prefix) struct MlpMapper {
    first: Linear,
    second: Linear,
    prefix_length: i64,
    hidden: i64,
}

impl MlpMapper {
    pub(super) fn new(module: &Builder, clip_dim: i64, hidden: i64, prefix_length: i64) -> Self {
        // ClipCap's MLP is a list of layers; number 1 is the tanh.
        let layers = module.sub("model");
        let (outputs, inner) = (hidden * prefix_length, hidden * prefix_length / 2);
        Self {
            first: Linear::new(&layers.sub(0), clip_dim, inner),
            second: Linear::new(&layers.sub(2), inner, outputs),
            prefix_length,
            hidden,
        }
    }

    pub(super) fn forward(&self, embeddings: &Tensor, pass: Pass) -> Tensor {
        let inner = self.first.forward(embeddings, pass).tanh();
        self.second.forward(&inner, pass).unflatten(1, [self.prefix_length, self.hidden])
    }
}
