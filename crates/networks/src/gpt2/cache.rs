//! Queries, keys and values of the tokens so far, so that decoding computes only the new ones.

use tch::{Device, Kind, Tensor};

use super::Gpt2Config;
use crate::device::upload_list;

/// What attention has seen, in one tensor `[layers, max_tokens, rows, 3 * hidden]` that is filled from
/// the front.
///
/// A layer's product of one token of all rows lies in one piece, so it is written where it stays and
/// nothing is appended by a copy. That is why queries, which nobody reads again, lie between. And rows
/// move in all layers at once.
#[derive(Debug)]
pub struct KvCache {
    joint: Tensor,
    tokens: i64,
}

impl KvCache {
    /// An empty cache with room for `max_tokens` tokens of `rows` sequences.
    pub(super) fn new(
        config: &Gpt2Config,
        rows: i64,
        max_tokens: i64,
        kind: Kind,
        device: Device,
    ) -> Self {
        let shape = [config.n_layer, max_tokens, rows, 3 * config.n_embd];
        Self { joint: Tensor::empty(shape, (kind, device)), tokens: 0 }
    }

    /// Tokens held.
    #[must_use]
    pub fn tokens(&self) -> i64 {
        self.tokens
    }

    /// Sequences held.
    #[must_use]
    pub fn rows(&self) -> i64 {
        self.joint.size()[2]
    }

    /// Returns a cache that holds every row `copies` times, copies side by side, with room for
    /// `max_tokens` tokens.
    ///
    /// # Panics
    /// When `max_tokens` is less than it holds, or memory is exhausted.
    #[must_use]
    pub fn repeat(self, copies: i64, max_tokens: i64) -> Self {
        let held = self.joint.narrow(1, 0, self.tokens).unsqueeze(3);
        let mut shape = self.joint.size();
        (shape[1], shape[2]) = (max_tokens, self.rows() * copies);
        let joint = self.joint.new_empty(shape, (self.joint.kind(), self.joint.device()));
        joint.narrow(1, 0, self.tokens).unflatten(2, [-1, copies]).copy_(&held);
        Self { joint, tokens: self.tokens }
    }

    /// Makes each row what the row was that `sources` names for it, and drops the rows behind the last
    /// of `sources`. The `first` tokens are left alone: those that a row and its source have in common.
    ///
    /// Copies only the rows that move. `others` are integers that go to the device in the same transfer.
    ///
    /// # Panics
    /// When a source is not in the cache, or it does not hold `first` tokens.
    pub fn rearrange<const N: usize>(
        &mut self,
        sources: &[usize],
        first: i64,
        others: [&[i64]; N],
    ) -> [Tensor; N] {
        let moves = sources.iter().enumerate().filter(|&(row, &source)| row != source);
        let (to, from): (Vec<i64>, Vec<i64>) =
            moves.map(|(row, &source)| (row as i64, source as i64)).unzip();
        let lists = [&[&to[..], &from], &others[..]].concat();
        let mut lists = upload_list(&lists, self.joint.device()).into_iter();
        let [to, from] = [(), ()].map(|()| lists.next().unwrap_or_default());
        let others = others.map(|_| lists.next().unwrap_or_default());
        if to.numel() > 0 && self.tokens > first {
            let mut held = self.joint.narrow(1, first, self.tokens - first);
            let moved = held.index_select(2, &from);
            let _ = held.index_copy_(2, &to, &moved);
        }
        self.joint = self.joint.narrow(2, 0, sources.len() as i64);
        others
    }

    /// Returns where a layer's queries, keys and values of the next `new` tokens belong: a view
    /// `[new * rows, 3 * hidden]`, token by token.
    ///
    /// # Panics
    /// When there is no room, or several tokens are to follow after rows were dropped.
    pub(super) fn place(&self, layer: usize, new: i64) -> Tensor {
        let place = self.joint.get(layer as i64).narrow(0, self.tokens, new);
        place.view([new * self.rows(), self.joint.size()[3]])
    }

    /// Returns a layer's queries, keys and values of the tokens held and `new` more: a view `[tokens,
    /// rows, 3 * hidden]`.
    pub(super) fn seen(&self, layer: usize, new: i64) -> Tensor {
        self.joint.get(layer as i64).narrow(0, 0, self.tokens + new)
    }

    /// Counts tokens that every layer has written.
    pub(super) fn advance(&mut self, tokens: i64) {
        self.tokens += tokens;
    }
}
