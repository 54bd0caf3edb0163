//! The captions of one training step, laid out on the device without padding.

use tch::{Device, Tensor};

use crate::gpt2::{Packing, Selection};

/// Captions as token ids behind their prefixes, and which of the states that GPT-2 computes for them
/// predict a target.
///
/// Rows for GPT-2 are first the prefix vectors, picture after picture, then the tokens that are read,
/// caption after caption.
#[derive(Debug)]
pub struct TokenBatch {
    inputs: Tensor,
    packing: Packing,
    predictors: Selection,
    target_ids: Tensor,
    images: Tensor,
    targets: usize,
    prefix_length: i64,
}

impl TokenBatch {
    /// Lays out `rows`, one caption each, behind a prefix of `prefix_length` vectors. `images` has the
    /// row of each caption's image among the embeddings.
    ///
    /// Every token whose id is not 0 is a target. Id 0 is what ClipCap pads with and leaves out of
    /// its loss, and with it a true `!`, GPT-2's token 0; that one is still read as input. The last
    /// token of a caption is predicted, but nothing is predicted from it, so it is not read.
    ///
    /// Everything goes to the device in one transfer, for which nothing waits.
    ///
    /// # Panics
    /// When `prefix_length` is not above 0, or there are not as many images as captions.
    #[must_use]
    pub fn new(rows: &[&[i64]], images: &[i64], prefix_length: i64, device: Device) -> Self {
        assert!(prefix_length > 0, "the first token needs a state to be predicted from");
        assert_eq!(rows.len(), images.len(), "each caption has an image");
        let mut inputs = Vec::new();
        let mut sequences = Vec::with_capacity(rows.len());
        let (mut predictors, mut ids) = (Vec::new(), Vec::new());
        let first_token = rows.len() as i64 * prefix_length;
        for (first_prefix, row) in (0..).step_by(prefix_length as usize).zip(rows) {
            let read = &row[..row.len().saturating_sub(1)];
            let from = first_token + inputs.len() as i64;
            let mut sequence: Vec<i64> = (first_prefix..first_prefix + prefix_length).collect();
            sequence.extend(from..from + read.len() as i64);
            // A token is predicted from the state before its own, the first from the prefix's last.
            for (&state, &id) in sequence[prefix_length as usize - 1..].iter().zip(*row) {
                if id != 0 {
                    predictors.push(state);
                    ids.push(id);
                }
            }
            inputs.extend_from_slice(read);
            sequences.push(sequence);
        }
        let targets = ids.len();
        let (packing, predictors, [inputs, target_ids, images]) =
            Packing::new(&sequences, &predictors, [&inputs, &ids, images], device);
        Self { inputs, packing, predictors, target_ids, images, targets, prefix_length }
    }

    /// How many targets a caption has.
    #[must_use]
    pub fn targets_of(row: &[i64]) -> usize {
        row.iter().filter(|&&id| id != 0).count()
    }

    /// Ids to read `[tokens]`, caption after caption.
    pub fn inputs(&self) -> &Tensor {
        &self.inputs
    }

    /// How prefixes and tokens make sequences.
    pub(super) fn packing(&self) -> &Packing {
        &self.packing
    }

    /// For each target the row of the state that predicts it.
    pub(super) fn predictors(&self) -> &Selection {
        &self.predictors
    }

    /// The targets' ids `[targets]`.
    pub fn target_ids(&self) -> &Tensor {
        &self.target_ids
    }

    /// Returns the row of each caption's image among the embeddings: `[captions]`.
    pub(super) fn images(&self) -> &Tensor {
        &self.images
    }

    /// How many targets there are.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.targets
    }

    pub(super) fn prefix_length(&self) -> i64 {
        self.prefix_length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_every_token_but_the_last_of_each_caption() {
        let rows: [&[i64]; 3] = [&[5, 6, 7, 8], &[9], &[3, 0, 4]];
        let batch = TokenBatch::new(&rows, &[4, 0, 4], 2, Device::Cpu);
        assert_eq!(batch.inputs(), &Tensor::from_slice(&[5_i64, 6, 7, 3, 0]));
        // Rows 0 to 5 are prefixes, 6 to 8 the first caption's tokens, 9 and 10 the third's. A first
        // target is predicted from the last row of its prefix. Token 0 is no target.
        let positions = [0_i64, 1, 0, 1, 0, 1, 2, 3, 4, 2, 3];
        assert_eq!(batch.packing().positions(), &Tensor::from_slice(&positions));
        assert_eq!(batch.predictors().rows(), &Tensor::from_slice(&[1_i64, 6, 7, 8, 3, 5, 10]));
        assert_eq!(batch.target_ids(), &Tensor::from_slice(&[5_i64, 6, 7, 8, 9, 3, 4]));
        assert_eq!(batch.images(), &Tensor::from_slice(&[4_i64, 0, 4]));
        assert_eq!(batch.targets(), 7);
    }

    #[test]
    fn captions_of_one_token_are_predicted_from_the_prefix_alone() {
        let batch = TokenBatch::new(&[&[5], &[6]], &[0, 1], 3, Device::Cpu);
        assert_eq!(batch.inputs().size(), [0]);
        assert_eq!(batch.predictors().rows(), &Tensor::from_slice(&[2_i64, 5]));
    }
}
