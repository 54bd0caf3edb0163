//! Captions of one training step on the device.

use tch::{Device, Tensor};

use crate::device::upload;

/// Id that begins and ends a caption.
pub const EDGE: i64 = 0;
/// Id of unknown words; never generated.
pub const UNKNOWN: i64 = 1;

/// Word ids of captions: inputs start with the edge id, targets end with it.
#[derive(Debug)]
pub struct WordBatch {
    /// Input ids `[captions, longest + 1]`.
    pub(super) inputs: Tensor,
    /// Index of the state that predicts each target, among the flattened positions of `inputs`:
    /// `[targets]`.
    pub(super) predictors: Tensor,
    /// Caption of each target: `[targets]`.
    pub(super) captions: Tensor,
    /// Target ids: `[targets]`.
    pub(super) target_ids: Tensor,
    /// Each caption's row in the image embeddings: `[captions]`.
    pub(super) images: Tensor,
}

impl WordBatch {
    /// Lays out `rows`, one caption each without edges, in one asynchronous transfer.
    ///
    /// `images` holds each caption's row in the image embeddings.
    ///
    /// # Panics
    /// Panics if `rows` and `images` differ in length.
    #[must_use]
    pub fn new(rows: &[&[i64]], images: &[i64], device: Device) -> Self {
        assert_eq!(rows.len(), images.len(), "each caption needs one image");
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0) + 1;
        // Slots behind a caption's end may hold anything: they predict no target.
        let mut inputs = vec![EDGE; rows.len() * longest];
        let (mut predictors, mut captions, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for (caption, row) in rows.iter().enumerate() {
            let first = caption * longest;
            inputs[first + 1..=first + row.len()].copy_from_slice(row);
            predictors.extend((first..=first + row.len()).map(|slot| slot as i64));
            captions.resize(predictors.len(), caption as i64);
            ids.extend_from_slice(row);
            ids.push(EDGE);
        }
        let [inputs, predictors, captions, target_ids, images] =
            upload([&inputs, &predictors, &captions, &ids, images], device);
        let inputs = inputs.view([rows.len() as i64, longest as i64]);
        Self { inputs, predictors, captions, target_ids, images }
    }

    /// Returns the number of targets: each caption's words and its end.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.target_ids.numel()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_is_read_from_its_edge_and_predicted_to_its_edge() {
        let batch = WordBatch::new(&[&[5, 6, 7], &[8]], &[3, 2], Device::Cpu);
        let inputs = Tensor::from_slice(&[0_i64, 5, 6, 7, 0, 8, 0, 0]).view([2, 4]);
        assert_eq!(&batch.inputs, &inputs);
        assert_eq!(&batch.predictors, &Tensor::from_slice(&[0_i64, 1, 2, 3, 4, 5]));
        assert_eq!(&batch.captions, &Tensor::from_slice(&[0_i64, 0, 0, 0, 1, 1]));
        assert_eq!(&batch.target_ids, &Tensor::from_slice(&[5_i64, 6, 7, 0, 8, 0]));
        assert_eq!(&batch.images, &Tensor::from_slice(&[3_i64, 2]));
        assert_eq!(batch.targets(), 6);
    }
}
