//! The captions of one training step, laid out on the device.

use tch::{Device, Tensor};

use super::EDGE;
use crate::device::upload;

/// Captions as word numbers: what is read of each is an edge and its words, and what is to be
/// predicted its words and an edge.
#[derive(Debug)]
pub struct WordBatch {
    inputs: Tensor,
    predictors: Tensor,
    captions: Tensor,
    target_ids: Tensor,
    images: Tensor,
    targets: usize,
}

impl WordBatch {
    /// Lays out `rows`, one caption each, without edges, in one transfer for which nothing waits.
    /// `images` has the row of each caption's image among the embeddings.
    ///
    /// # Panics
    /// When there are not as many images as captions.
    #[must_use]
    pub fn new(rows: &[&[i64]], images: &[i64], device: Device) -> Self {
        assert_eq!(rows.len(), images.len(), "each caption has an image");
        let longest = rows.iter().map(|row| row.len()).max().unwrap_or(0) + 1;
        // A slot behind a caption's end may hold anything: nothing is predicted there.
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
        let targets = ids.len();
        let [inputs, predictors, captions, target_ids, images] =
            upload([&inputs, &predictors, &captions, &ids, images], device);
        let inputs = inputs.view([rows.len() as i64, longest as i64]);
        Self { inputs, predictors, captions, target_ids, images, targets }
    }

    /// Words to read `[captions, longest + 1]`.
    pub(super) fn inputs(&self) -> &Tensor {
        &self.inputs
    }

    /// For each target the slot that predicts it, among all slots: `[targets]`.
    pub(super) fn predictors(&self) -> &Tensor {
        &self.predictors
    }

    /// For each target its caption: `[targets]`.
    pub(super) fn captions(&self) -> &Tensor {
        &self.captions
    }

    /// The targets' numbers: `[targets]`.
    pub(super) fn targets_ids(&self) -> &Tensor {
        &self.target_ids
    }

    /// Returns the row of each caption's image among the embeddings: `[captions]`.
    pub(super) fn images(&self) -> &Tensor {
        &self.images
    }

    /// How many targets there are: each caption's words and its end.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_is_read_from_its_edge_and_predicted_to_its_edge() {
        let batch = WordBatch::new(&[&[5, 6, 7], &[8]], &[3, 2], Device::Cpu);
        let inputs = Tensor::from_slice(&[0_i64, 5, 6, 7, 0, 8, 0, 0]).view([2, 4]);
        assert_eq!(batch.inputs(), &inputs);
        assert_eq!(batch.predictors(), &Tensor::from_slice(&[0_i64, 1, 2, 3, 4, 5]));
        assert_eq!(batch.captions(), &Tensor::from_slice(&[0_i64, 0, 0, 0, 1, 1]));
        assert_eq!(batch.targets_ids(), &Tensor::from_slice(&[5_i64, 6, 7, 0, 8, 0]));
        assert_eq!(batch.images(), &Tensor::from_slice(&[3_i64, 2]));
        assert_eq!(batch.targets(), 6);
    }
}
