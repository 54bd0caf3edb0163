//! The loss on held-out captions.

use tch::{Device, Tensor, no_grad};

use crate::batches::{TokenRow, part};
use crate::learner::Learner;

/// Captions held out, and how many are computed together.
pub(crate) struct HeldOut {
    pub rows: Vec<TokenRow>,
    pub batch_size: usize,
}

impl HeldOut {
    /// Mean cross entropy over all held-out target tokens, without dropout; none where no captions
    /// are held out. `embeddings` are the data set's.
    pub(crate) fn loss(
        &self,
        learner: &Learner,
        embeddings: &Tensor,
        prefix_length: i64,
        device: Device,
    ) -> Option<f64> {
        // Captions of like length together: their order changes nothing but speed.
        let mut rows: Vec<&TokenRow> = self.rows.iter().collect();
        rows.sort_by_key(|row| row.tokens.len());
        let mut total = Tensor::zeros([], (tch::Kind::Double, device));
        let mut targets = 0;
        for batch in rows.chunks(self.batch_size) {
            let part = part(batch, embeddings, prefix_length, device);
            if part.tokens.targets() == 0 {
                continue;
            }
            let (loss, count) = learner.evaluate(&part);
            no_grad(|| total += loss.to_kind(tch::Kind::Double) * count as f64);
            targets += count;
        }
        (targets > 0).then(|| total.double_value(&[]) / targets as f64)
    }
}
