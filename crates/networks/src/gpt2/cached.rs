//! Forward pass for new tokens, given a cache of the earlier ones.
//!
//! Rows are token by token, as in the cache: `[new * sequences, hidden]`. A layer takes eight
//! kernel launches per token on a GPU: two norms, four products, attention and one addition.

use tch::Tensor;

use super::folded::FoldedFeedForward;
use super::layers::{Attention, Block, FeedForward, causal_after};
use super::{Activation, Gpt2, KvCache};
use crate::layers::AttentionMask;
use crate::libtorch;
use crate::packed::Weight;
use crate::pass::Pass;

impl Gpt2 {
    /// Computes [`Self::forward`] for new tokens `[rows, new, hidden]`, and appends them to
    /// `cache`.
    ///
    /// Runs without gradients and dropout.
    ///
    /// # Panics
    /// Panics if the cache is full, there are more than `n_positions` tokens altogether, or for
    /// several new tokens after rows were dropped from the cache.
    pub fn forward_cached(&self, inputs_embeds: &Tensor, cache: &mut KvCache) -> Tensor {
        tch::no_grad(|| {
            let (past, new) = (cache.tokens(), inputs_embeds.size()[1]);
            let visible = match (past, new) {
                (0, _) => AttentionMask::Causal,
                (_, 1) => AttentionMask::All,
                _ => AttentionMask::Custom(causal_after(past, inputs_embeds)),
            };
            let inputs = inputs_embeds + self.position_embedding.narrow(0, past, new);
            let mut rows = inputs.transpose(0, 1).flatten(0, 1);
            for (layer, block) in self.blocks.iter().enumerate() {
                block.add_cached(&mut rows, cache, layer, new, &visible);
            }
            cache.advance(new);
            self.final_norm.normalized(&rows).unflatten(0, [new, -1]).transpose(0, 1)
        })
    }

    /// Returns an empty cache for `batch` sequences of at most `max_tokens` tokens, with this
    /// model's type and device.
    #[must_use]
    pub fn cache(&self, batch: i64, max_tokens: i64) -> KvCache {
        let (kind, device) = (self.token_embedding.kind(), self.token_embedding.device());
        let mut cache = KvCache::new(self.config(), batch, max_tokens, kind, device);
        if device.is_cuda() {
            let folded = || self.blocks.iter().map(|block| block.feed_forward.folded()).collect();
            cache.fold(tch::no_grad::<Option<_>, _>(folded).unwrap_or_default());
        }
        cache
    }
}

impl Block {
    /// Adds attention and feed-forward layer to the residual stream `rows` in place.
    fn add_cached(
        &self,
        rows: &mut Tensor,
        cache: &KvCache,
        layer: usize,
        new: i64,
        visible: &AttentionMask,
    ) {
        let normed = self.attention_norm.normalized(rows);
        let _ = rows.g_add_(&self.attention.forward_cached(&normed, cache, layer, new, visible));
        let normed = self.feed_forward_norm.normalized(rows);
        self.feed_forward.add_cached(rows, &normed, cache.folded(layer));
    }
}

impl Attention {
    fn forward_cached(
        &self,
        rows: &Tensor,
        cache: &KvCache,
        layer: usize,
        new: i64,
        visible: &AttentionMask,
    ) -> Tensor {
        self.queries_keys_values.forward_into(&mut cache.write_view(layer, new), rows);
        // [3, sequences, heads, tokens, head_dim]
        let qkv = cache
            .read_view(layer, new)
            .unflatten(2, [3, self.heads, self.head_dim])
            .permute([2, 1, 3, 0, 4]);
        let (mask, causal) = visible.arguments();
        let heads = Tensor::scaled_dot_product_attention(
            &qkv.get(0).narrow(2, cache.tokens(), new),
            &qkv.get(1),
            &qkv.get(2),
            mask,
            0.0,
            causal,
            self.scale,
            false,
        );
        self.output
            .forward(&heads.permute([2, 0, 1, 3]).flatten(2, 3).flatten(0, 1), Pass::EVALUATION)
    }
}

impl FeedForward {
    /// Adds the layer's output for `normed` to the residual stream `rows` in place.
    fn add_cached(&self, rows: &mut Tensor, normed: &Tensor, folded: Option<&FoldedFeedForward>) {
        let _ = match folded {
            None => {
                let active = self.active(normed, Pass::EVALUATION);
                rows.g_add_(&self.output.forward(&active, Pass::EVALUATION))
            }
            Some(folded) => rows.addmm_(&self.folded_active(folded, normed), &folded.output_weight),
        };
    }

    fn folded_active(&self, folded: &FoldedFeedForward, rows: &Tensor) -> Tensor {
        let FoldedFeedForward { inner_bias, inner_weight, .. } = folded;
        match self.activation {
            // On the CPU this operator uses the exact GELU, not the tanh approximation.
            Activation::GeluNew | Activation::GeluPytorchTanh if rows.device().is_cuda() => {
                libtorch::expect(libtorch::addmm_gelu(inner_bias, rows, inner_weight))
            }
            _ => libtorch::expect(self.function().apply(inner_bias.addmm(rows, inner_weight))),
        }
    }

    /// Returns the folded layer, unless its weights are packed.
    fn folded(&self) -> Option<FoldedFeedForward> {
        let Self { inner, output, .. } = self;
        let (Weight::Plain(inner_weight), Weight::Plain(output_weight)) =
            (&inner.weight, &output.weight)
        else {
            return None;
        };
        let zeros = |shape: &[i64]| {
            inner_weight.new_zeros(shape, (inner_weight.kind(), inner_weight.device()))
        };
        let (hidden, more) = (inner_weight.size()[0], FoldedFeedForward::UNITS);
        let unit = zeros(&[more]);
        let _ = unit.get(0).fill_(FoldedFeedForward::ACTIVE);
        let output_bias = (&output.bias / FoldedFeedForward::ACTIVE).unsqueeze(0);
        Some(FoldedFeedForward {
            inner_weight: Tensor::cat(&[inner_weight, &zeros(&[hidden, more])], 1),
            inner_bias: Tensor::cat(&[&inner.bias, &unit], 0),
            output_weight: Tensor::cat(
                &[output_weight, &output_bias, &zeros(&[more - 1, hidden])],
                0,
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, nn};

    use super::*;
    use crate::gpt2::Gpt2Config;
    use crate::layers::{Builder, InitialWeights};

    #[test]
    fn a_folded_bias_changes_nothing_but_the_order_of_a_sum() {
        tch::manual_seed(5);
        for activation in [Activation::GeluNew, Activation::Gelu, Activation::Relu] {
            let config = Gpt2Config {
                n_embd: 24,
                n_head: 2,
                activation_function: activation,
                ..Gpt2Config::default()
            };
            let store = nn::VarStore::new(Device::Cpu);
            let layer =
                FeedForward::new(&Builder::new(store.root(), InitialWeights::Zeros), &config);
            tch::no_grad(|| {
                for (_, mut variable) in store.variables() {
                    let _ = variable.normal_(0.0, 0.5);
                }
                let [rows, normed] =
                    [0, 1].map(|_| Tensor::randn([5, 24], (Kind::Float, Device::Cpu)));
                let added = |folded: Option<&FoldedFeedForward>| {
                    let mut rows = rows.copy();
                    layer.add_cached(&mut rows, &normed, folded);
                    rows
                };
                let (plain, folded) = (added(None), added(layer.folded().as_ref()));
                let off = (&plain - &folded).abs().max().double_value(&[]);
                assert!(off < 2e-5, "{activation:?}: {off}");
                let moved = (&plain - &rows).abs().max().double_value(&[]);
                assert!(moved > 1.0, "{activation:?}: {moved}");
            });
        }
    }
}
