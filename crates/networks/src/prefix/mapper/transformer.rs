//! ClipCap's transformer mapper.
//!
//! The image embedding is projected to `clip_length` vectors, followed by `prefix_length` learned
//! vectors. Pre-norm self-attention layers transform both; the outputs of the latter are the
//! prefix.
//!
//! Variables have the names of ClipCap's checkpoints: `linear`, `prefix_const`,
//! `transformer.layers.N.{norm1, attn.{to_queries, to_keys_values, project}, norm2, mlp.{fc1,
//! fc2}}`.

use tch::Tensor;
use tch::nn::Init;

use super::linear::Linear;
use crate::layers::{Builder, LayerNorm};
use crate::libtorch;
use crate::pass::Pass;

/// Number of attention heads, for every size.
pub(super) const HEADS: i64 = 8;
/// Feed-forward size as a multiple of the hidden size.
pub(super) const MLP_RATIO: i64 = 2;

#[derive(Debug)]
pub(in crate::prefix) struct TransformerMapper {
    linear: Linear,
    prefix_const: Tensor,
    layers: Vec<Layer>,
    clip_length: i64,
    hidden: i64,
}

impl TransformerMapper {
    /// # Panics
    /// Panics if `hidden` is not a multiple of the eight heads.
    pub(super) fn new(
        module: &Builder,
        clip_dim: i64,
        hidden: i64,
        prefix_length: i64,
        clip_length: i64,
        layers: i64,
    ) -> Self {
        assert_eq!(hidden % HEADS, 0, "hidden size {hidden} is not a multiple of {HEADS} heads");
        let normal = Init::Randn { mean: 0.0, stdev: 1.0 };
        let stack = module.sub("transformer").sub("layers");
        Self {
            linear: Linear::new(&module.sub("linear"), clip_dim, clip_length * hidden),
            prefix_const: module.var("prefix_const", &[prefix_length, hidden], normal),
            layers: (0..layers).map(|layer| Layer::new(&stack.sub(layer), hidden)).collect(),
            clip_length,
            hidden,
        }
    }

    pub(super) fn forward(&self, embeddings: &Tensor, pass: Pass) -> Tensor {
        let batch = embeddings.size()[0];
        let seen = self.linear.forward(embeddings, pass);
        let seen =
            seen.unflatten(1, [self.clip_length, self.hidden]).to_kind(self.prefix_const.kind());
        let constants = self.prefix_const.unsqueeze(0).expand([batch, -1, -1], false);
        let mut states = Tensor::cat(&[seen, constants], 1);
        for layer in &self.layers {
            states = layer.forward(&states, pass);
        }
        states.narrow(1, self.clip_length, self.prefix_const.size()[0])
    }
}

#[derive(Debug)]
struct Layer {
    norm1: LayerNorm,
    to_queries: Linear,
    to_keys_values: Linear,
    project: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
}

impl Layer {
    fn new(module: &Builder, hidden: i64) -> Self {
        let (attention, mlp, inner) = (module.sub("attn"), module.sub("mlp"), hidden * MLP_RATIO);
        Self {
            norm1: norm(&module.sub("norm1"), hidden),
            to_queries: Linear::without_bias(&attention.sub("to_queries"), hidden, hidden),
            to_keys_values: Linear::without_bias(
                &attention.sub("to_keys_values"),
                hidden,
                2 * hidden,
            ),
            project: Linear::new(&attention.sub("project"), hidden, hidden),
            norm2: norm(&module.sub("norm2"), hidden),
            fc1: Linear::new(&mlp.sub("fc1"), hidden, inner),
            fc2: Linear::new(&mlp.sub("fc2"), inner, hidden),
        }
    }

    /// Computes the layer, `[batch, tokens, hidden]` to the same shape.
    fn forward(&self, states: &Tensor, pass: Pass) -> Tensor {
        let states = states + self.attend(&self.norm1.normalized(states), pass);
        let inner = self.fc1.forward(&self.norm2.normalized(&states), pass).relu();
        states + self.fc2.forward(&inner, pass)
    }

    fn attend(&self, states: &Tensor, pass: Pass) -> Tensor {
        let queries = heads(&self.to_queries.forward(states, pass));
        let keys_values = self.to_keys_values.forward(states, pass).chunk(2, -1);
        let (keys, values) = (heads(&keys_values[0]), heads(&keys_values[1]));
        let attended = Tensor::scaled_dot_product_attention::<Tensor>(
            &queries, &keys, &values, None, 0.0, false, None, false,
        );
        self.project.forward(&attended.transpose(1, 2).flatten(2, 3), pass)
    }
}

/// Splits `[batch, tokens, hidden]` into `[batch, heads, tokens, head_dim]`.
fn heads(states: &Tensor) -> Tensor {
    states.unflatten(2, [HEADS, -1]).transpose(1, 2)
}

/// Adds a layer normalisation with PyTorch's default epsilon, as in ClipCap.
fn norm(module: &Builder, hidden: i64) -> LayerNorm {
    libtorch::expect(LayerNorm::new(module, hidden, 1e-5))
}
