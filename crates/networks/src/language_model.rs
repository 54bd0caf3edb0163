//! GPT-2 as a language model over blocks of tokens, trained by SBG ("selective blind guessing") on
//! texts of keywords and captions.
//!
//! Reference: transformers 4.57's `GPT2LMHeadModel` with `labels`, whose loss is the mean over all
//! tokens but the first of each block. Differences: the last token of a block is no input, since it
//! predicts nothing, and logits are computed for targets only. The loss is the same.

use std::borrow::Borrow;

use tch::{Device, Tensor, nn};

use crate::gpt2::{Gpt2, Gpt2Config, Packing, Selection};
use crate::layers::InitialWeights;
use crate::pass::Pass;

/// GPT-2 with the variable names of a captioner without a mapper: `gpt.transformer.*`.
#[derive(Debug)]
pub struct LanguageModel {
    gpt2: Gpt2,
}

impl LanguageModel {
    /// Adds a model's variables under `module`, initialised as transformers does.
    ///
    /// # Panics
    /// Same as [`Gpt2::new`].
    #[must_use]
    pub fn new<'a>(module: impl Borrow<nn::Path<'a>>, config: &Gpt2Config) -> Self {
        Self::with_initial(module, config, InitialWeights::Random)
    }

    /// Adds a model's variables as [`Self::new`] does, with other initial values.
    ///
    /// # Panics
    /// Same as [`Gpt2::new`].
    #[must_use]
    pub fn with_initial<'a>(
        module: impl Borrow<nn::Path<'a>>,
        config: &Gpt2Config,
        initial: InitialWeights,
    ) -> Self {
        Self { gpt2: Gpt2::with_initial(module.borrow() / "gpt", config, initial) }
    }

    /// Packs the weights for inference; see [`Gpt2::pack`].
    pub fn pack(&mut self) {
        self.gpt2.pack();
    }

    /// Returns the GPT-2.
    #[must_use]
    pub fn gpt2(&self) -> &Gpt2 {
        &self.gpt2
    }

    /// Returns the training loss, a scalar: the mean cross entropy of the target tokens.
    ///
    /// It is NaN if there is no target.
    ///
    /// # Panics
    /// When a block is longer than GPT-2's positions, or an id is not below `vocab_size`.
    pub fn loss<'m>(&'m self, blocks: &'m Blocks, pass: Pass<'_, 'm>) -> Tensor {
        let inputs = move |_: Pass<'_, 'm>| self.gpt2.embed(&blocks.inputs);
        let states = self.gpt2.forward_packed(inputs, &blocks.packing, &blocks.predictors, pass);
        self.gpt2.target_loss(&states, &blocks.target_ids, pass)
    }
}

/// Block of tokens, some of which are targets. The first never is: nothing predicts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Token ids.
    pub tokens: Vec<i64>,
    /// True for each token that the loss includes.
    pub is_target: Vec<bool>,
}

impl Block {
    /// Returns the number of targets.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.is_target.iter().skip(1).filter(|is_target| **is_target).count()
    }
}

/// Blocks of one training step on the device.
#[derive(Debug)]
pub struct Blocks {
    inputs: Tensor,
    packing: Packing,
    predictors: Selection,
    target_ids: Tensor,
}

impl Blocks {
    /// Packs blocks of any length in one asynchronous transfer.
    #[must_use]
    pub fn new(blocks: &[&Block], device: Device) -> Self {
        let mut inputs = Vec::new();
        let mut sequences = Vec::with_capacity(blocks.len());
        let (mut predictors, mut ids) = (Vec::new(), Vec::new());
        for block in blocks {
            let first = inputs.len() as i64;
            let read = &block.tokens[..block.tokens.len().saturating_sub(1)];
            inputs.extend_from_slice(read);
            sequences.push((first..inputs.len() as i64).collect());
            let targets = block.tokens.iter().zip(&block.is_target).skip(1);
            for (row, (&id, _)) in (first..).zip(targets).filter(|(_, (_, is_target))| **is_target)
            {
                predictors.push(row);
                ids.push(id);
            }
        }
        let (packing, predictors, [inputs, target_ids]) =
            Packing::new(&sequences, &predictors, [&inputs, &ids], device);
        Self { inputs, packing, predictors, target_ids }
    }

    /// Returns the number of targets in all blocks.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.target_ids.numel()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_target_is_predicted_from_the_token_before_it() {
        let block = |tokens: &[i64], is_target: &[bool]| Block {
            tokens: tokens.to_vec(),
            is_target: is_target.to_vec(),
        };
        let all = block(&[5, 6, 7], &[true, true, true]);
        let some = block(&[8, 9, 4, 3], &[true, false, true, true]);
        let blocks = Blocks::new(&[&all, &some], Device::Cpu);
        assert_eq!(blocks.inputs, Tensor::from_slice(&[5_i64, 6, 8, 9, 4]));
        assert_eq!(blocks.predictors.rows(), &Tensor::from_slice(&[0_i64, 1, 3, 4]));
        assert_eq!(blocks.target_ids, Tensor::from_slice(&[6_i64, 7, 4, 3]));
        assert_eq!(blocks.targets(), all.targets() + some.targets());
    }
}
