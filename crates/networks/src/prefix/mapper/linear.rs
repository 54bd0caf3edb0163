//! Linear layer of the mappers.

use tch::Tensor;
use tch::nn::Init;

use crate::layers::Builder;
use crate::pass::Pass;

/// Linear layer with PyTorch's default initialisation.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Creates weight `[outputs, inputs]` and bias, uniform within `1 / sqrt(inputs)`.
    ///
    /// That is PyTorch's default, unlike tch's own linear layer.
    pub(super) fn new(module: &Builder, inputs: i64, outputs: i64) -> Self {
        let bias = module.var("bias", &[outputs], uniform(inputs));
        Self { bias: Some(bias), ..Self::without_bias(module, inputs, outputs) }
    }

    pub(super) fn without_bias(module: &Builder, inputs: i64, outputs: i64) -> Self {
        let weight = module.var("weight", &[outputs, inputs], uniform(inputs));
        Self { weight, bias: None }
    }

    pub(super) fn forward(&self, inputs: &Tensor, pass: Pass) -> Tensor {
        let weight = |tensor| pass.precision.weight(tensor);
        let bias = self.bias.as_ref().map(weight);
        pass.precision.cast(inputs).linear(&weight(&self.weight), bias.as_ref())
    }
}

pub(super) fn uniform(inputs: i64) -> Init {
    let bound = 1.0 / (inputs as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}
