//! Mappers from an image embedding to the vectors that GPT-2 reads in place of its first tokens.

mod linear;
mod mlp;
mod transformer;

use recipes::MapperKind;
use tch::Tensor;

use mlp::MlpMapper;
use transformer::TransformerMapper;

use crate::config::MAX_PARAMETERS;
use crate::layers::Builder;
use crate::pass::Pass;

/// Sizes of a mapper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MapperConfig {
    /// Architecture of the mapper.
    pub kind: MapperKind,
    /// Length of an image embedding.
    pub clip_dim: i64,
    /// Number of prefix vectors per image.
    pub prefix_length: i64,
    /// Dropout probability of the embedding's values.
    pub dropout: f64,
    /// Standardises embeddings first.
    pub standardize: bool,
}

impl MapperConfig {
    /// Returns the sizes of a configured mapper for embeddings of `clip_dim` values.
    #[must_use]
    pub fn new(mapper: &recipes::Mapper, clip_dim: usize) -> Self {
        let recipes::Mapper { kind, prefix_length, dropout, standardize } = *mapper;
        Self { kind, clip_dim: clip_dim as i64, prefix_length, dropout, standardize }
    }

    /// Returns a mapper without dropout and standardisation.
    #[must_use]
    pub const fn plain(kind: MapperKind, clip_dim: i64, prefix_length: i64) -> Self {
        Self { kind, clip_dim, prefix_length, dropout: 0.0, standardize: false }
    }

    /// Checks that the mapper fits a language model of this hidden size.
    ///
    /// Call it before building a captioner.
    ///
    /// # Errors
    /// Fails with the reason.
    pub fn check(&self, hidden_size: i64) -> Result<(), String> {
        let is_transformer = matches!(self.kind, MapperKind::Transformer { .. });
        if is_transformer && hidden_size % transformer::HEADS != 0 {
            return Err(format!(
                "the transformer mapper has {} heads, which do not divide GPT-2's hidden size of {hidden_size}; use the mlp mapper or another GPT-2",
                transformer::HEADS
            ));
        }
        match self.parameters(hidden_size) {
            0..=MAX_PARAMETERS => Ok(()),
            count => Err(format!(
                "mapper.prefix_length is {}, which gives a mapper of {count} weights, more than {MAX_PARAMETERS}; reduce it, mapper.clip_length or mapper.layers",
                self.prefix_length
            )),
        }
    }

    /// Returns the number of values in the large matrices, without biases and norms.
    #[must_use]
    pub fn parameters(&self, hidden_size: i64) -> u128 {
        let wide = |size: i64| u128::from(size.unsigned_abs());
        let (clip_dim, hidden) = (wide(self.clip_dim), wide(hidden_size));
        let prefix = hidden * wide(self.prefix_length);
        match self.kind {
            MapperKind::Mlp => (clip_dim + prefix).saturating_mul(prefix) / 2,
            MapperKind::Transformer { clip_length, layers } => {
                let layer = hidden * hidden * (4 + 2 * wide(transformer::MLP_RATIO));
                let input = (clip_dim * hidden).saturating_mul(wide(clip_length));
                input.saturating_add(prefix).saturating_add(layer.saturating_mul(wide(layers)))
            }
        }
    }
}

/// Mapper of either kind.
#[derive(Debug)]
pub(super) enum Mapper {
    Mlp(MlpMapper),
    Transformer(TransformerMapper),
}

impl Mapper {
    /// Adds the mapper's variables under `module` for prefix vectors of `hidden` values.
    ///
    /// They are initialised as PyTorch's `nn.Linear` and `nn.LayerNorm`.
    pub(super) fn new(module: &Builder, config: &MapperConfig, hidden: i64) -> Self {
        let MapperConfig { kind, clip_dim, prefix_length, .. } = *config;
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

    /// Returns prefix vectors `[batch, prefix_length, hidden]` for embeddings `[batch, clip_dim]`.
    pub(super) fn forward(&self, embeddings: &Tensor, pass: Pass) -> Tensor {
        match self {
            Self::Mlp(mapper) => mapper.forward(embeddings, pass),
            Self::Transformer(mapper) => mapper.forward(embeddings, pass),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_do_not_divide_the_hidden_size_are_refused() {
        let kind = MapperKind::Transformer { clip_length: 10, layers: 8 };
        let transformer = MapperConfig::plain(kind, 4, 2);
        assert!(transformer.check(768).is_ok());
        assert!(transformer.check(20).unwrap_err().contains("hidden size of 20"));
        assert!(MapperConfig { kind: MapperKind::Mlp, ..transformer }.check(20).is_ok());
    }

    #[test]
    fn too_large_mappers_are_rejected() {
        let transformer = |clip_length, layers| MapperKind::Transformer { clip_length, layers };
        for (kind, prefix_length, fits) in [
            (MapperKind::Mlp, 10, true),
            (MapperKind::Mlp, 1_000, false),
            (transformer(10, 8), 1_000, true),
            (transformer(100_000, 8), 10, false),
            (transformer(10, 1_000), 10, false),
            (transformer(i64::MAX, i64::MAX), i64::MAX, false),
        ] {
            let checked = MapperConfig::plain(kind, 768, prefix_length).check(768);
            assert_eq!(checked.is_ok(), fits, "{kind:?}");
            assert!(checked.is_ok() || checked.unwrap_err().contains("mapper.prefix_length"));
        }
    }
}
