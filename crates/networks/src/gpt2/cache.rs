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

    /// The cache of `rows` (int64, on the cache's device), in their order and as often as they are
    /// named, with room for `max_tokens` tokens. Copies the tokens held, and a layer at a time, so
    /// that the old and the new cache do not lie in memory together.
    ///
    /// # Panics
    /// When a row is not in the cache, or `max_tokens` is less than it holds.
    #[must_use]
    pub fn select(self, rows: &Tensor, max_tokens: i64) -> Self {
        let tokens = self.tokens;
        let select = |held: &Tensor| {
            let mut shape = held.size();
            (shape[0], shape[2]) = (rows.size()[0], max_tokens);
            let room = held.new_empty(shape, (held.kind(), held.device()));
            let _ = held.narrow(2, 0, tokens).index_select_out(&room.narrow(2, 0, tokens), 0, rows);
            room
        };
        let layers = self
            .layers
            .into_iter()
            .map(|layer| LayerCache { keys: select(&layer.keys), values: select(&layer.values) })
            .collect();
        Self { layers, tokens }
    }

    /// Overwrites rows `to` by rows `from` (int64, on the cache's device), one each, in all tokens
    /// but the `first`, which they have in common. No row may be in both.
    ///
    /// # Panics
    /// When a row is not in the cache, or it does not hold `first` tokens.
    pub fn copy_rows(&mut self, from: &Tensor, to: &Tensor, first: i64) {
        let copied = self.tokens - first;
        let copy = |held: &Tensor| {
            let mut held = held.narrow(2, first, copied);
            let rows = held.index_select(0, from);
            let _ = held.index_copy_(0, to, &rows);
        };
        for layer in &self.layers {
            copy(&layer.keys);
            copy(&layer.values);
        }
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
