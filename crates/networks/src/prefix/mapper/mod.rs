//! Mappers from an image embedding to the vectors that GPT-2 reads in place of its first tokens.

mod mlp;
mod transformer;

use recipes::MapperKind;
use tch::Tensor;
use tch::nn::Init;

use mlp::MlpMapper;
use transformer::TransformerMapper;

use crate::layers::Builder;
use crate::pass::Pass;

/// A mapper that is larger than the largest GPT-2 is a mistake, and refusing it is kinder than running out
/// of memory.
const MAX_PARAMETERS: u128 = 4_000_000_000;

/// A mapper's sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapperConfig {
    /// The network.
    pub kind: MapperKind,
    /// Values in an image embedding.
    pub clip_dim: i64,
    /// Prefix vectors for each image.
    pub prefix_length: i64,
}

impl MapperConfig {
    /// Returns the network of a config's mapper, for embeddings of `clip_dim` values.
    #[must_use]
    pub fn new(mapper: &recipes::Mapper, clip_dim: usize) -> Self {
        let recipes::Mapper { kind, prefix_length } = *mapper;
        Self { kind, clip_dim: clip_dim as i64, prefix_length }
    }

    /// Checks that a language model of this hidden size can be mapped to; worth calling before a
    /// captioner is built.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn check(&self, hidden_size: i64) -> Result<(), String> {
        let is_transformer = matches!(self.kind, MapperKind::Transformer { .. });
        if is_transformer && hidden_size % transformer::HEADS != 0 {
            return Err(format!(
                "the transformer mapper has {} heads, which do not divide GPT-2's hidden size of {hidden_size}; take the mlp mapper, or another GPT-2",
                transformer::HEADS
            ));
        }
        match self.parameters(hidden_size) {
            0..=MAX_PARAMETERS => Ok(()),
            count => Err(format!(
                "mapper.prefix_length is {}: with it the mapper has {count} weights, more than {MAX_PARAMETERS}; lower it, or mapper.clip_length and mapper.layers",
                self.prefix_length
            )),
        }
    }

    /// Values in the large matrices; biases and norms are not counted.
    fn parameters(&self, hidden_size: i64) -> u128 {
        let wide = |size: i64| u128::from(size.unsigned_abs());
        let (clip_dim, hidden) = (wide(self.clip_dim), wide(hidden_size));
        let prefix = hidden * wide(self.prefix_length);
        match self.kind {
            MapperKind::Mlp => (clip_dim + prefix).saturating_mul(prefix) / 2,
            MapperKind::Transformer { clip_length, layers } => {
                let layer = hidden * hidden * (4 + 2 * wide(transformer::MLP_RATIO));
                clip_dim * hidden * wide(clip_length) + prefix + layer * wide(layers)
            }
        }
    }
}

/// A mapper of either kind.
#[derive(Debug)]
pub(super) enum Mapper {
    Mlp(MlpMapper),
    Transformer(TransformerMapper),
}

impl Mapper {
    /// Adds its variables under `module`, initialised as PyTorch's `nn.Linear` and `nn.LayerNorm`,
    /// for prefix vectors of `hidden` values.
    pub(super) fn new(module: &Builder, config: &MapperConfig, hidden: i64) -> Self {
        let MapperConfig { kind, clip_dim, prefix_length } = *config;
        match kind {
            MapperKind::Mlp => Self::Mlp(MlpMapper::new(module, clip_dim, hidden, prefix_length)),
            MapperKind::Transformer { clip_length, layers } => {
                Self::Transformer(TransformerMapper::new(
                    module,
                    clip_dim,
                    hidden,
                    prefix_length,
                    clip_length,
                    layers,
                ))
            }
        }
    }

    /// Prefix vectors `[batch, prefix_length, hidden]` of image embeddings `[batch, clip_dim]`.
    pub(super) fn forward(&self, embeddings: &Tensor, pass: Pass) -> Tensor {
        match self {
            Self::Mlp(mapper) => mapper.forward(embeddings, pass),
            Self::Transformer(mapper) => mapper.forward(embeddings, pass),
        }
    }
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Weight `[outputs, inputs]` and bias uniform within `1 / sqrt(inputs)`: PyTorch's default,
    /// which tch's own linear layer does not share.
    fn new(module: &Builder, inputs: i64, outputs: i64) -> Self {
        let bias = module.var("bias", &[outputs], uniform(inputs));
        Self { bias: Some(bias), ..Self::without_bias(module, inputs, outputs) }
    }

    fn without_bias(module: &Builder, inputs: i64, outputs: i64) -> Self {
        let weight = module.var("weight", &[outputs, inputs], uniform(inputs));
        Self { weight, bias: None }
    }

    fn forward(&self, inputs: &Tensor, pass: Pass) -> Tensor {
        let weight = |tensor| pass.precision.weight(tensor);
        let bias = self.bias.as_ref().map(weight);
        pass.precision.cast(inputs).linear(&weight(&self.weight), bias.as_ref())
    }
}

fn uniform(inputs: i64) -> Init {
    let bound = 1.0 / (inputs as f64).sqrt();
    Init::Uniform { lo: -bound, up: bound }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_do_not_divide_the_hidden_size_are_refused() {
        let kind = MapperKind::Transformer { clip_length: 10, layers: 8 };
        let transformer = MapperConfig { kind, clip_dim: 4, prefix_length: 2 };
        assert!(transformer.check(768).is_ok());
        assert!(transformer.check(20).unwrap_err().contains("hidden size of 20"));
        assert!(MapperConfig { kind: MapperKind::Mlp, ..transformer }.check(20).is_ok());
    }

    #[test]
    fn a_mapper_that_no_memory_holds_is_refused() {
        let transformer = |clip_length, layers| MapperKind::Transformer { clip_length, layers };
        for (kind, prefix_length, fits) in [
            (MapperKind::Mlp, 10, true),
            (MapperKind::Mlp, 1_000, false),
            (transformer(10, 8), 1_000, true),
            (transformer(100_000, 8), 10, false),
            (transformer(10, 1_000), 10, false),
            (transformer(i64::MAX, i64::MAX), i64::MAX, false),
        ] {
            let checked = MapperConfig { kind, clip_dim: 768, prefix_length }.check(768);
            assert_eq!(checked.is_ok(), fits, "{kind:?}");
            assert!(checked.is_ok() || checked.unwrap_err().contains("mapper.prefix_length"));
        }
    }
}
