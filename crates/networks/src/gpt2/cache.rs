//! Key/value cache for decoding.

use tch::{Device, Kind, Tensor};

use super::Gpt2Config;
use super::folded::FoldedFeedForward;
use crate::device::upload_list;

/// Cache of each layer's queries, keys and values, `[layers, max_tokens, rows, 3 * hidden]`.
///
/// It is filled from the front.
///
/// The joint projection of one token is contiguous for all rows, so it is written in place without
/// a copy; the queries are stored only because they are part of it. Rows move in all layers at
/// once.
#[derive(Debug)]
pub struct KvCache {
    joint: Tensor,
    tokens: i64,
    /// Feed-forward layers with folded biases, one per layer on a GPU, otherwise empty.
    folded: Vec<FoldedFeedForward>,
}

impl KvCache {
    /// Returns an empty cache with room for `max_tokens` tokens of `rows` sequences.
    pub(super) fn new(
        config: &Gpt2Config,
        rows: i64,
        max_tokens: i64,
        kind: Kind,
        device: Device,
    ) -> Self {
        let shape = [config.n_layer, max_tokens, rows, 3 * config.n_embd];
        Self { joint: Tensor::empty(shape, (kind, device)), tokens: 0, folded: Vec::new() }
    }

    /// Stores the folded feed-forward layers of the model.
    pub(super) fn fold(&mut self, layers: Vec<FoldedFeedForward>) {
        self.folded = layers;
    }

    /// Returns a layer's folded feed-forward layer, if any.
    pub(super) fn folded(&self, layer: usize) -> Option<&FoldedFeedForward> {
        self.folded.get(layer)
    }

    /// Returns the number of cached tokens.
    #[must_use]
    pub fn tokens(&self) -> i64 {
        self.tokens
    }

    /// Returns the number of sequences.
    #[must_use]
    pub fn rows(&self) -> i64 {
        self.joint.size()[2]
    }

    /// Returns a cache with `copies` adjacent rows per row, and room for `max_tokens` tokens.
    ///
    /// # Panics
    /// Panics if `max_tokens` is below the number of cached tokens, or memory is exhausted.
    #[must_use]
    pub fn repeat(self, copies: i64, max_tokens: i64) -> Self {
        let held = self.joint.narrow(1, 0, self.tokens).unsqueeze(3);
        let mut shape = self.joint.size();
        (shape[1], shape[2]) = (max_tokens, self.rows() * copies);
        let joint = self.joint.new_empty(shape, (self.joint.kind(), self.joint.device()));
        joint.narrow(1, 0, self.tokens).unflatten(2, [-1, copies]).copy_(&held);
        Self { joint, ..self }
    }

    /// Replaces row i by row `sources[i]`, and drops rows beyond the end of `sources`.
    ///
    /// The `first` tokens are not copied: a row and its source must share them.
    ///
    /// Copies only rows that move. `others` are integers to upload in the same transfer.
    ///
    /// # Panics
    /// Panics if a source is not in the cache, or it holds fewer than `first` tokens.
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

    /// Returns a writable view `[new * rows, 3 * hidden]`, token by token, of a layer's next `new`
    /// tokens.
    ///
    /// # Panics
    /// Panics if the cache is full, or for several tokens after rows were dropped.
    pub(super) fn write_view(&self, layer: usize, new: i64) -> Tensor {
        let place = self.joint.get(layer as i64).narrow(0, self.tokens, new);
        place.view([new * self.rows(), self.joint.size()[3]])
    }

    /// Returns a view `[tokens, rows, 3 * hidden]` of a layer's cached tokens and `new` more.
    pub(super) fn read_view(&self, layer: usize, new: i64) -> Tensor {
        self.joint.get(layer as i64).narrow(0, 0, self.tokens + new)
    }

    /// Advances by `tokens`, which every layer has written.
    pub(super) fn advance(&mut self, tokens: i64) {
        self.tokens += tokens;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpt2::Gpt2;
    use crate::pass::Pass;
    use tch::nn;

    /// Random input vectors `[rows, tokens, hidden]`.
    fn inputs(rows: i64, tokens: i64) -> Tensor {
        Tensor::randn([rows, tokens, 16], (Kind::Float, Device::Cpu))
    }

    /// Checks the last states behind cached tokens against those of whole sequences.
    fn assert_as_whole(model: &Gpt2, cache: &mut KvCache, earlier: &Tensor, last: &Tensor) {
        let found = model.forward_cached(last, cache);
        let whole = Tensor::cat(&[earlier, last], 1);
        let expected = model.forward(&whole, None, Pass::EVALUATION);
        let expected = expected.narrow(1, whole.size()[1] - 1, 1);
        let off = (found - expected).abs().max().double_value(&[]);
        assert!(off < 1e-5, "off by {off}");
    }

    #[test]
    fn repeated_moved_and_dropped_rows_continue_their_sequences() {
        tch::manual_seed(3);
        let store = nn::VarStore::new(Device::Cpu);
        let config = Gpt2Config {
            n_embd: 16,
            n_head: 2,
            n_layer: 3,
            vocab_size: 5,
            ..Gpt2Config::default()
        };
        let model = Gpt2::new(store.root(), &config);

        let prompt = inputs(2, 4);
        let mut cache = model.cache(2, 4);
        let _ = model.forward_cached(&prompt, &mut cache);
        let mut cache = cache.repeat(3, 9);
        assert_eq!((cache.rows(), cache.tokens()), (6, 4));
        let sources = |rows: &[i64]| Tensor::from_slice(rows);
        let mut earlier = prompt.index_select(0, &sources(&[0, 0, 0, 1, 1, 1]));
        let next = inputs(6, 1);
        assert_as_whole(&model, &mut cache, &earlier, &next);
        earlier = Tensor::cat(&[earlier, next], 1);

        // Two rows that share their prompt swap; another is overwritten.
        let [number] = cache.rearrange(&[1, 0, 1, 3, 4, 5], 4, [&[7]]);
        assert_eq!(number, Tensor::from_slice(&[7_i64]));
        earlier = earlier.index_select(0, &sources(&[1, 0, 1, 3, 4, 5]));
        let next = inputs(6, 1);
        assert_as_whole(&model, &mut cache, &earlier, &next);
        earlier = Tensor::cat(&[earlier, next], 1);

        // Rows of another prompt replace dropped ones.
        let [] = cache.rearrange(&[5, 1, 4], 0, []);
        assert_eq!((cache.rows(), cache.tokens()), (3, 6));
        earlier = earlier.index_select(0, &sources(&[5, 1, 4]));
        for _ in 0..2 {
            let next = inputs(3, 1);
            assert_as_whole(&model, &mut cache, &earlier, &next);
            earlier = Tensor::cat(&[earlier, next], 1);
        }
    }
}
