//! Asynchronous transfer of chosen tokens to the host.

use tch::{Kind, Tensor};

use crate::libtorch::expect;
use crate::transfer::PendingCopy;

/// Token ids and log-probabilities on their way to the host, in one transfer.
pub(crate) struct PendingTokens(PendingCopy);

impl PendingTokens {
    /// Starts the transfer of two tensors of the same shape; the GPU continues meanwhile.
    ///
    /// # Panics
    /// Panics if memory is exhausted.
    pub(crate) fn start(tokens: &Tensor, log_probabilities: &Tensor) -> Self {
        let size = [2, tokens.numel() as i64];
        // An f64 holds any token id exactly.
        let both = Tensor::empty(size, (Kind::Double, tokens.device()));
        both.get(0).copy_(&tokens.flatten(0, -1));
        both.get(1).copy_(&log_probabilities.flatten(0, -1));
        Self(expect(PendingCopy::start(&both)))
    }

    /// Waits for the transfer; returns token ids and log-probabilities in row order.
    ///
    /// # Panics
    /// Panics if the GPU reports an error.
    pub(crate) fn wait(self) -> (Vec<i64>, Vec<f64>) {
        let both = expect(self.0.wait());
        let mut all = vec![0.0; both.numel()];
        both.copy_data(&mut all, both.numel());
        let log_probabilities = all.split_off(all.len() / 2);
        (all.into_iter().map(|id| id as i64).collect(), log_probabilities)
    }
}

/// Most probable next tokens of each row and their log-probabilities, both `[rows, width]`.
pub(crate) struct NextTokens {
    pub(crate) width: usize,
    tokens: Vec<i64>,
    log_probabilities: Vec<f64>,
}

impl NextTokens {
    /// Chooses the `width` most probable tokens of each row, and waits for them.
    ///
    /// # Panics
    /// Panics if memory is exhausted, or the GPU reports an error.
    pub(crate) fn new(log_probabilities: &Tensor, width: usize) -> Self {
        let (log_probabilities, tokens) = log_probabilities.topk(width as i64, -1, true, true);
        let (tokens, log_probabilities) = PendingTokens::start(&tokens, &log_probabilities).wait();
        Self { width, tokens, log_probabilities }
    }

    /// Returns the tokens of a row with their log-probabilities, the most probable first.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = (i64, f64)> {
        let range = row * self.width..(row + 1) * self.width;
        let tokens = self.tokens[range.clone()].iter().copied();
        tokens.zip(self.log_probabilities[range].iter().copied())
    }
}
