//! One training step of any model: loss, gradients, clipping, update.
//!
//! [`Learner::compute`] sums the gradients of a step's microbatches and clips their norm;
//! [`Learner::apply`] updates the weights. With several processes, gradients are summed over all.

use std::collections::HashSet;
use std::sync::Arc;

use collectives::{BUCKET_BYTES, Buckets, Collectives};
use networks::{Bf16Copies, GradientCheckpointing, Pass, Precision, Standardization, libtorch};
use tch::{TchError, Tensor, no_grad};

use crate::error::Error;
use crate::gradients::{GradientSum, Sum};
use crate::optimizer::{AdamW, clipping_factor, total_norm};
use crate::schedule::RateSchedule;

/// Model with a loss.
pub trait Model {
    /// Part of a step's examples, on the device.
    type Batch;

    /// Reduction of the target losses to the loss that is differentiated.
    const REDUCTION: Reduction = Reduction::Mean;

    /// Returns the number of targets that a batch's loss is the mean of.
    fn targets(batch: &Self::Batch) -> usize;

    /// Returns the statistics that image embeddings are standardised by, if they are.
    ///
    /// Training fits them to the training images before its first step.
    fn standardization(&self) -> Option<&Standardization> {
        None
    }

    /// Returns the mean loss of a batch's targets, a scalar.
    ///
    /// This is the only function that composes a model's loss: a term added here counts with and
    /// without gradient checkpointing, with one process and several, and in the held-out loss.
    fn loss<'m>(&'m self, batch: &'m Self::Batch, pass: Pass<'_, 'm>) -> Tensor;
}

/// Reduction of target losses to one loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Mean over a step's targets.
    Mean,
    /// Sum over a step's targets.
    Sum,
}

/// A model with its optimizer and learning rate schedule.
#[derive(Debug)]
pub struct Learner<M> {
    model: M,
    optimizer: AdamW,
    parameters: Vec<Tensor>,
    schedule: RateSchedule,
    options: LearnerOptions,
    /// Sums of gradients over all processes, if there are several.
    buckets: Option<Buckets>,
    /// The weights in bf16, if products are bf16 and the process is single: buckets take gradients
    /// from the parameters themselves.
    bf16_copies: Option<Bf16Copies>,
}

/// Options of training steps.
#[derive(Debug, Clone, Copy)]
pub struct LearnerOptions {
    /// Total gradient norm to clip to; 0 for no clipping.
    pub max_grad_norm: f64,
    /// Enables dropout. A frozen GPT-2 has none.
    pub dropout: bool,
    /// Type of matrix products.
    pub precision: Precision<'static>,
    /// Recomputes activations in the backward pass instead of keeping them.
    pub gradient_checkpointing: bool,
}

/// Properties of a step that all processes share.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Targets of the whole batch, over all processes.
    pub targets: usize,
    /// True if this process was asked to stop.
    pub stop_requested: bool,
}

/// A step that is computed but not applied. Loss and norm are scalars on the model's device.
#[derive(Debug)]
pub struct Step {
    /// Mean loss of the batch's targets.
    pub loss: Tensor,
    /// Total L2 norm of the gradients, before clipping.
    pub norm: Tensor,
    /// Loss and norm side by side, `[2]`, to read both at once.
    pub values: Tensor,
    /// Learning rate.
    pub learning_rate: f64,
    /// Number of processes that were asked to stop, if there are several.
    pub stop_requests: Option<Tensor>,
    number: u64,
    gradients: Vec<Tensor>,
    /// Factor of the gradients in the update, which clips them.
    scale: Option<Tensor>,
}

impl<M: Model> Learner<M> {
    /// Combines a model with an optimizer that holds its trained parameters.
    #[must_use]
    pub fn new(
        model: M,
        optimizer: AdamW,
        schedule: RateSchedule,
        options: LearnerOptions,
    ) -> Self {
        let parameters = optimizer.parameters();
        let is_bf16 = matches!(options.precision, Precision::Bf16);
        let bf16_copies = is_bf16.then(Bf16Copies::default);
        Self { model, optimizer, parameters, schedule, options, buckets: None, bf16_copies }
    }

    /// Makes the processes of `group` share each step. All must have the same parameters.
    ///
    /// # Errors
    /// Fails if libtorch refuses.
    pub fn share(&mut self, group: &Arc<dyn Collectives>) -> Result<(), Error> {
        // With checkpointing, a parameter's gradient comes from several backward passes.
        let overlap = !self.options.gradient_checkpointing;
        let parameters = &self.parameters;
        self.buckets = Some(Buckets::new(Arc::clone(group), parameters, BUCKET_BYTES, overlap)?);
        self.bf16_copies = None;
        Ok(())
    }

    /// Returns the model, to change what the optimizer does not change.
    pub fn model_mut(&mut self) -> &mut M {
        &mut self.model
    }

    /// Returns the optimizer, for checkpoints.
    #[must_use]
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// Computes loss and gradients of a batch, given as microbatches, after `finished` steps.
    ///
    /// `seed` decides dropout. Microbatches without targets do not count.
    ///
    /// # Errors
    /// Fails if libtorch runs out of memory.
    pub fn compute(
        &self,
        microbatches: &[M::Batch],
        finished: u64,
        seed: i64,
    ) -> Result<Step, Error> {
        let targets = microbatches.iter().map(M::targets).sum();
        self.compute_share(microbatches, Share { targets, stop_requested: false }, finished, seed)
    }

    /// Computes a step of which each process has some microbatches, or none.
    ///
    /// The result is the same on all processes: the mean over all targets of the whole batch.
    ///
    /// # Errors
    /// Fails if libtorch refuses, or another process is lost.
    pub fn compute_share(
        &self,
        microbatches: &[M::Batch],
        share: Share,
        finished: u64,
        seed: i64,
    ) -> Result<Step, Error> {
        tch::manual_seed(seed);
        // The mean over no targets is not a number.
        let with_targets = microbatches.iter().filter(|batch| M::targets(batch) > 0);
        let microbatches: Vec<&M::Batch> = with_targets.collect();
        let mut sum = GradientSum::new(self.buckets.as_ref(), self.parameters[0].device());
        for (number, microbatch) in microbatches.iter().copied().enumerate() {
            // Each target weighs the same, whichever microbatch it is in.
            let weight = M::targets(microbatch) as f64 / share.targets as f64;
            let factor = sum.begin(weight, number + 1 == microbatches.len());
            // Far enough apart that no two segments of two microbatches share a seed.
            let seed = seed.wrapping_add((number as i64) << 32);
            let (loss, gradients) = self.loss_and_gradients(microbatch, factor, seed)?;
            sum.add(&loss, gradients, weight)?;
        }
        let Sum { loss, gradients, stop_requests } = sum.finish(share.stop_requested)?;
        // A step without targets has loss 0 and no gradients: nothing moves, moments included.
        let (gradients, (norm, scale)) = if share.targets == 0 {
            (Vec::new(), (loss.zeros_like(), None))
        } else {
            let clipped = self.clip(&gradients, share.targets)?;
            (gradients, clipped)
        };
        Ok(Step {
            values: Tensor::f_stack(&[&loss, &norm], 0)?,
            loss,
            norm,
            learning_rate: self.schedule.rate(finished),
            stop_requests,
            number: finished + 1,
            gradients,
            scale,
        })
    }

    /// Returns a microbatch's loss and its gradients, both times `factor`.
    fn loss_and_gradients(
        &self,
        microbatch: &M::Batch,
        factor: f64,
        seed: i64,
    ) -> Result<(Tensor, Vec<Tensor>), TchError> {
        let checkpointing =
            self.options.gradient_checkpointing.then(|| GradientCheckpointing::new(seed));
        let pass = Pass {
            dropout: self.options.dropout,
            precision: self.precision(),
            checkpointing: checkpointing.as_ref(),
        };
        let loss = self.model.loss(microbatch, pass);
        let loss = if factor.to_bits() == 1.0_f64.to_bits() { loss } else { loss * factor };
        let parameters: Vec<&Tensor> = self.parameters.iter().collect();
        let gradients = pass.gradients(&loss, &parameters)?;
        Ok((loss.detach(), separate(gradients)))
    }

    /// Returns the gradients' total norm, and the factor that clips it to the configured maximum.
    ///
    /// Gradients are those of the mean loss. Where the model's loss is the sum, norm and factor are
    /// those of the sum's gradients.
    fn clip(
        &self,
        gradients: &[Tensor],
        targets: usize,
    ) -> Result<(Tensor, Option<Tensor>), TchError> {
        let max_norm = self.options.max_grad_norm;
        let mut norm = total_norm(gradients)?;
        if M::REDUCTION == Reduction::Sum {
            norm = no_grad(|| norm * targets as f64);
        }
        let clipping = (max_norm > 0.0).then(|| clipping_factor(&norm, max_norm));
        let scale = match M::REDUCTION {
            Reduction::Mean => clipping,
            Reduction::Sum => {
                let clipping = clipping.unwrap_or_else(|| norm.ones_like());
                Some(no_grad(|| clipping * targets as f64))
            }
        };
        Ok((norm, scale))
    }

    /// Updates the parameters. On a GPU, where loss and norm are not read at each step, nothing
    /// moves if one of them is not finite.
    ///
    /// # Errors
    /// Fails if libtorch runs out of memory.
    pub fn apply(&mut self, step: &Step) -> Result<(), TchError> {
        let is_on_gpu = step.values.device().is_cuda();
        let skip = is_on_gpu.then(|| libtorch::any_non_finite(&step.values)).transpose()?;
        let Step { gradients, scale, number, learning_rate, .. } = step;
        let (skip, scale) = (skip.as_ref(), scale.as_ref());
        self.optimizer.step_unless(skip, gradients, scale, *number, *learning_rate)?;
        self.bf16_copies.as_ref().map_or(Ok(()), Bf16Copies::refresh)
    }

    /// Returns the loss of a batch without dropout.
    pub fn evaluate(&self, batch: &M::Batch) -> Tensor {
        let pass = Pass { dropout: false, precision: self.precision(), checkpointing: None };
        no_grad(|| self.model.loss(batch, pass))
    }

    /// Returns the precision of matrix products, with the bf16 copies of the weights if any.
    fn precision(&self) -> Precision<'_> {
        self.bf16_copies.as_ref().map_or(self.options.precision, Precision::Bf16Copies)
    }
}

/// Copies gradients that share memory.
///
/// Autograd may return one tensor for two parameters, and updates write to gradients.
fn separate(gradients: Vec<Tensor>) -> Vec<Tensor> {
    let mut taken = HashSet::with_capacity(gradients.len());
    let separate = |gradient: Tensor| {
        let gradient = gradient.contiguous();
        if taken.insert(gradient.data_ptr()) { gradient } else { gradient.copy() }
    };
    gradients.into_iter().map(separate).collect()
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn gradients_that_autograd_returns_twice_get_memory_of_their_own() {
        let leaf = || Tensor::from_slice(&[1.0_f32, 2.0]).set_requires_grad(true);
        let (a, b) = (leaf(), leaf());
        let shared = Tensor::from_slice(&[3.0_f32, 4.0]);
        let rows = Tensor::from(5.0_f32).expand([2, 3], false);
        let all = [shared.shallow_clone(), shared, rows];
        let found = Tensor::run_backward(&[(&a + &b).sum(Kind::Float)], &[&a, &b], false, false);
        for gradients in [found, all.into()] {
            let copies: Vec<Tensor> = gradients.iter().map(Tensor::copy).collect();
            let separated = separate(gradients);
            assert_eq!(separated, copies);
            let doubled = libtorch::foreach_add(&separated, &copies);
            assert!(doubled.is_ok(), "{doubled:?}");
            for (doubled, copy) in separated.iter().zip(copies) {
                assert_eq!(*doubled, copy * 2.0);
            }
        }
    }
}
