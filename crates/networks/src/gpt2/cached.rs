//! The forward pass for the next tokens of sequences whose earlier ones are in a cache.
//!
//! Rows are token by token here, as the cache holds them: `[new * sequences, hidden]`. A layer of one new
//! token is nine launches on a GPU: two norms, four products, attention and two additions.

use tch::Tensor;

use super::layers::{Attention, Block, FeedForward, Visible, causal_after};
use super::{Activation, Gpt2, KvCache};
use crate::libtorch;
use crate::pass::Pass;

impl Gpt2 {
    /// Computes [`Self::forward`] for the next tokens of sequences whose earlier ones are in `cache`,
    /// and appends them to it. Without gradients and dropout.
    ///
    /// # Panics
    /// When the cache has no room, there are more than `n_positions` tokens altogether, or several
    /// tokens are to follow after rows were dropped from the cache.
    pub fn forward_cached(&self, inputs_embeds: &Tensor, cache: &mut KvCache) -> Tensor {
        tch::no_grad(|| {
            let (past, new) = (cache.tokens(), inputs_embeds.size()[1]);
            let visible = match (past, new) {
                (0, _) => Visible::Causal,
                (_, 1) => Visible::All,
                _ => Visible::Only(causal_after(past, inputs_embeds)),
            };
            let inputs = inputs_embeds + self.position_embedding.narrow(0, past, new);
            let mut rows = inputs.transpose(0, 1).flatten(0, 1);
            for (layer, block) in self.blocks.iter().enumerate() {
                block.add_cached(&mut rows, cache, layer, new, &visible);
            }
            cache.advance(new);
            self.final_norm.forward(&rows).unflatten(0, [new, -1]).transpose(0, 1)
        })
    }

    /// Returns an empty cache for `batch` sequences of at most `max_tokens` tokens, of this model's type
    /// and on its device.
    #[must_use]
    pub fn cache(&self, batch: i64, max_tokens: i64) -> KvCache {
        let (kind, device) = (self.token_embedding.kind(), self.token_embedding.device());
        KvCache::new(self.config(), batch, max_tokens, kind, device)
    }
}

impl Block {
    /// Adds attention and feed-forward to the residual stream `rows`, in place.
    fn add_cached(
        &self,
        rows: &mut Tensor,
        cache: &KvCache,
        layer: usize,
        new: i64,
        visible: &Visible,
    ) {
        let normed = self.attention_norm.forward(rows);
        let _ = rows.g_add_(&self.attention.forward_cached(&normed, cache, layer, new, visible));
        let normed = self.feed_forward_norm.forward(rows);
        let _ = rows.g_add_(&self.feed_forward.forward_cached(&normed));
    }
}

impl Attention {
    fn forward_cached(
        &self,
        rows: &Tensor,
        cache: &KvCache,
        layer: usize,
        new: i64,
        visible: &Visible,
    ) -> Tensor {
        let product = &self.queries_keys_values;
        let _ = product.bias.addmm_out(&cache.place(layer, new), rows, &product.weight);
        // [3, sequences, heads, tokens, head_dim]
        let seen = cache
            .seen(layer, new)
            .unflatten(2, [3, self.heads, self.head_dim])
            .permute([2, 1, 3, 0, 4]);
        let mask = match visible {
            Visible::Only(mask) => Some(mask),
            Visible::Causal | Visible::All => None,
        };
        let causal = matches!(visible, Visible::Causal);
        let heads = Tensor::scaled_dot_product_attention(
            &seen.get(0).narrow(2, cache.tokens(), new),
            &seen.get(1),
            &seen.get(2),
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
    fn forward_cached(&self, rows: &Tensor) -> Tensor {
        let (weight, bias) = (&self.inner.weight, &self.inner.bias);
        let active = match self.activation {
            // On the processor this operator's GELU is not the one by tanh.
            Activation::GeluNew | Activation::GeluPytorchTanh if rows.device().is_cuda() => {
                match libtorch::addmm_gelu(bias, rows, weight) {
                    Ok(active) => active,
                    Err(error) => panic!("{error}"),
                }
            }
            _ => self.activate(&self.inner.forward(rows, Pass::EVALUATION)),
        };
        self.output.forward(&active, Pass::EVALUATION)
    }
}
