//! Captions of one training step, packed without padding on the device.

use tch::{Device, Tensor};

use crate::gpt2::{Packing, Selection};

/// Token ids of captions behind their prefixes, with the positions that predict a target.
///
/// GPT-2's input rows are the prefix vectors of all captions, then the tokens of all captions.
#[derive(Debug)]
pub struct TokenBatch {
    /// Input ids `[tokens]`, caption by caption.
    pub(super) inputs: Tensor,
    /// Layout of prefixes and tokens as sequences.
    pub(super) packing: Packing,
    /// State that predicts each target.
    pub(super) predictors: Selection,
    /// Target ids `[targets]`.
    pub(super) target_ids: Tensor,
    /// Each caption's row in the image embeddings, `[captions]`.
    pub(super) images: Tensor,
    /// Number of prefix vectors of each caption.
    pub(super) prefix_length: i64,
}

impl TokenBatch {
    /// Packs `rows`, one caption each, behind prefixes of `prefix_length` vectors.
    ///
    /// `images` holds each caption's row in the image embeddings.
    ///
    /// Every token with a nonzero id is a target. ClipCap pads with id 0 and excludes it from the
    /// loss, and with it every true `!`, GPT-2's token 0, which stays an input. The last token of a
    /// caption is a target but not an input.
    ///
    /// Copies everything to the device in one asynchronous transfer.
    ///
    /// # Panics
    /// Panics if `prefix_length` is below 1, or `rows` and `images` differ in length.
    #[must_use]
    pub fn new(rows: &[&[i64]], images: &[i64], prefix_length: i64, device: Device) -> Self {
        assert!(prefix_length > 0, "prefix_length must be at least 1");
        assert_eq!(rows.len(), images.len(), "each caption needs one image");
        let mut inputs = Vec::new();
        let mut sequences = Vec::with_capacity(rows.len());
        let (mut predictors, mut ids) = (Vec::new(), Vec::new());
        let first_token = rows.len() as i64 * prefix_length;
        for (first_prefix, row) in (0..).step_by(prefix_length as usize).zip(rows) {
            let read = &row[..row.len().saturating_sub(1)];
            let from = first_token + inputs.len() as i64;
            let mut sequence: Vec<i64> = (first_prefix..first_prefix + prefix_length).collect();
            sequence.extend(from..from + read.len() as i64);
            // The state before a token predicts it; the last prefix state predicts the first token.
            for (&state, &id) in sequence[prefix_length as usize - 1..].iter().zip(*row) {
                if id != 0 {
                    predictors.push(state);
                    ids.push(id);
                }
            }
            inputs.extend_from_slice(read);
            sequences.push(sequence);
        }
        let (packing, predictors, [inputs, target_ids, images]) =
            Packing::new(&sequences, &predictors, [&inputs, &ids, images], device);
        Self { inputs, packing, predictors, target_ids, images, prefix_length }
    }

    /// Returns the number of targets in one caption.
    #[must_use]
    pub fn count_targets(row: &[i64]) -> usize {
        row.iter().filter(|&&id| id != 0).count()
    }

    /// Returns the number of targets in the batch.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.target_ids.numel()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_reads_every_token_but_the_last_of_each_caption() {
        let rows: [&[i64]; 3] = [&[5, 6, 7, 8], &[9], &[3, 0, 4]];
        let batch = TokenBatch::new(&rows, &[4, 0, 4], 2, Device::Cpu);
        assert_eq!(&batch.inputs, &Tensor::from_slice(&[5_i64, 6, 7, 3, 0]));
        // Rows 0 to 5 are prefixes, 6 to 8 the first caption's tokens, 9 and 10 the third's. The
        // last row of a prefix predicts the first target. Token 0 is no target.
        let positions = [0_i64, 1, 0, 1, 0, 1, 2, 3, 4, 2, 3];
        assert_eq!(batch.packing.positions(), &Tensor::from_slice(&positions));
        assert_eq!(batch.predictors.rows(), &Tensor::from_slice(&[1_i64, 6, 7, 8, 3, 5, 10]));
        assert_eq!(&batch.target_ids, &Tensor::from_slice(&[5_i64, 6, 7, 8, 9, 3, 4]));
        assert_eq!(&batch.images, &Tensor::from_slice(&[4_i64, 0, 4]));
        assert_eq!(batch.targets(), 7);
    }

    #[test]
    fn captions_of_one_token_are_predicted_from_the_prefix_alone() {
        let batch = TokenBatch::new(&[&[5], &[6]], &[0, 1], 3, Device::Cpu);
        assert_eq!(batch.inputs.size(), [0]);
        assert_eq!(batch.predictors.rows(), &Tensor::from_slice(&[2_i64, 5]));
    }
}
