//! Keys and values of the tokens so far, so that decoding computes only the new ones.

use tch::{Device, Kind, Tensor};

use super::Gpt2Config;

/// What attention has seen, for every layer: `[batch, heads, max_tokens, head_dim]`, allocated once
/// and filled from the front, so that a new token copies nothing but itself.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    tokens: i64,
}

impl KvCache {
    /// An empty cache with room for `max_tokens` tokens of `batch` sequences.
    pub(super) fn new(
        config: &Gpt2Config,
        batch: i64,
        max_tokens: i64,
        kind: Kind,
        device: Device,
    ) -> Self {
        let room = || {
            let shape = [batch, config.n_head, max_tokens, config.head_dim()];
            Tensor::empty(shape, (kind, device))
        };
        let layers =
            (0..config.n_layer).map(|_| LayerCache { keys: room(), values: room() }).collect();
        Self { layers, tokens: 0 }
    }

    /// Tokens held.
    #[must_use]
    pub fn tokens(&self) -> i64 {
        self.tokens
    }

    pub(super) fn layers(&mut self) -> &mut [LayerCache] {
        &mut self.layers
    }

    /// Counts tokens that every layer has appended.
    pub(super) fn advance(&mut self, tokens: i64) {
        self.tokens += tokens;
    }
}

#[derive(Debug)]
pub(super) struct LayerCache {
    keys: Tensor,
    values: Tensor,
}

impl LayerCache {
    /// Appends keys and values `[batch, heads, new, head_dim]` behind the `past` tokens held, and
    /// returns views of all of them `[batch, heads, past + new, head_dim]`.
    pub(super) fn append(&mut self, past: i64, keys: &Tensor, values: &Tensor) -> (Tensor, Tensor) {
        let new = keys.size()[2];
        self.keys.narrow(2, past, new).copy_(keys);
        self.values.narrow(2, past, new).copy_(values);
        (self.keys.narrow(2, 0, past + new), self.values.narrow(2, 0, past + new))
    }
}
