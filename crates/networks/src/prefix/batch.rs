//! The captions of one training step, laid out on the device.

use tch::{Device, Kind, Tensor};

/// Captions as token ids, and which of the states that GPT-2 computes for them predict a target.
#[derive(Debug)]
pub struct TokenBatch {
    inputs: Tensor,
    target_positions: Tensor,
    target_ids: Tensor,
    targets: usize,
    prefix_length: i64,
}

impl TokenBatch {
    /// Lays out `rows`, one caption each, behind a prefix of `prefix_length` vectors.
    ///
    /// Every token whose id is not 0 is a target. Id 0 is what ClipCap pads with and leaves out of
    /// its loss, and with it a true `!`, GPT-2's token 0; that one is still read as input.
    ///
    /// Nothing waits for the device.
    ///
    /// # Panics
    /// When `prefix_length` is not above 0.
    #[must_use]
    pub fn new(rows: &[&[i64]], prefix_length: i64, device: Device) -> Self {
        assert!(prefix_length > 0, "the first token needs a state to be predicted from");
        // The last token of the longest row is predicted, but nothing is predicted from it.
        let read = rows.iter().map(|row| row.len()).max().unwrap_or(0).saturating_sub(1);
        let states = prefix_length + read as i64;
        let mut inputs = Vec::with_capacity(rows.len() * read);
        let (mut positions, mut ids) = (Vec::new(), Vec::new());
        for (first_state, row) in (0..).step_by(states as usize).zip(rows) {
            let padding = std::iter::repeat(0);
            inputs.extend(row.iter().copied().chain(padding).take(read));
            // A token is predicted from the state before its own, the first from the prefix's last.
            for (position, &id) in (first_state + prefix_length - 1..).zip(*row) {
                if id != 0 {
                    positions.push(position);
                    ids.push(id);
                }
            }
        }
        Self {
            inputs: upload(&inputs, device).view([rows.len() as i64, read as i64]),
            target_positions: upload(&positions, device),
            target_ids: upload(&ids, device),
            targets: ids.len(),
            prefix_length,
        }
    }

    /// Ids to read `[batch, longest - 1]`, 0 behind the shorter captions.
    pub fn inputs(&self) -> &Tensor {
        &self.inputs
    }

    /// For each target the state that predicts it, as a row of the states
    /// `[batch * (prefix_length + longest - 1), hidden]`.
    pub fn target_positions(&self) -> &Tensor {
        &self.target_positions
    }

    /// The targets' ids `[targets]`.
    pub fn target_ids(&self) -> &Tensor {
        &self.target_ids
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

/// `values` on `device`, without waiting for it: a GPU takes them from pinned memory in its own
/// time.
pub(crate) fn upload(values: &[i64], device: Device) -> Tensor {
    let tensor = Tensor::from_slice(values);
    if device.is_cuda() {
        tensor.pin_memory(device).to_device_(device, Kind::Int64, true, false)
    } else {
        tensor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_padded_to_its_longest_row_less_the_token_that_is_never_read() {
        let rows: [&[i64]; 3] = [&[5, 6, 7, 8], &[9], &[3, 0, 4]];
        let batch = TokenBatch::new(&rows, 2, Device::Cpu);
        assert_eq!(batch.inputs(), &Tensor::from_slice2(&[[5_i64, 6, 7], [9, 0, 0], [3, 0, 4]]));
        // Rows of 2 + 3 states: the first target is predicted from state 1 of its row. Token 0 of
        // the third row is no target.
        assert_eq!(batch.target_positions(), &Tensor::from_slice(&[1_i64, 2, 3, 4, 6, 11, 13]));
        assert_eq!(batch.target_ids(), &Tensor::from_slice(&[5_i64, 6, 7, 8, 9, 3, 4]));
        assert_eq!(batch.targets(), 7);
    }

    #[test]
    fn captions_of_one_token_are_predicted_from_the_prefix_alone() {
        let batch = TokenBatch::new(&[&[5], &[6]], 3, Device::Cpu);
        assert_eq!(batch.inputs().size(), [2, 0]);
        assert_eq!(batch.target_positions(), &Tensor::from_slice(&[2_i64, 5]));
    }
}
