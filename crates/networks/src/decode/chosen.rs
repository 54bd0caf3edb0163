//! Chosen tokens on their way to the host.

use tch::{Kind, Tensor};

use crate::libtorch::expect;
use crate::transfer::Reading;

/// Token ids and as many log-probabilities, copied from the device in one transfer.
pub(crate) struct Chosen(Reading);

impl Chosen {
    /// Starts the transfer of two tensors of one shape. A GPU goes on meanwhile.
    ///
    /// # Panics
    /// When memory is exhausted.
    pub(crate) fn send(tokens: &Tensor, log_probabilities: &Tensor) -> Self {
        let size = [2, tokens.numel() as i64];
        // A double holds any id.
        let both = Tensor::empty(size, (Kind::Double, tokens.device()));
        both.get(0).copy_(&tokens.flatten(0, -1));
        both.get(1).copy_(&log_probabilities.flatten(0, -1));
        Self(expect(Reading::start(&both)))
    }

    /// Waits for the transfer, and returns token ids and log-probabilities in row order.
    ///
    /// # Panics
    /// When the GPU's work failed.
    pub(crate) fn receive(self) -> (Vec<i64>, Vec<f64>) {
        let both = expect(self.0.wait());
        let mut all = vec![0.0; both.numel()];
        both.copy_data(&mut all, both.numel());
        let log_probabilities = all.split_off(all.len() / 2);
        (all.into_iter().map(|id| id as i64).collect(), log_probabilities)
    }
}
