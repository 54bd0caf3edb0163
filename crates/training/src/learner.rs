//! One training step: loss, gradients, clipping, update. Of any model.

use std::collections::HashSet;
use std::sync::Arc;

use collectives::{BUCKET_BYTES, Buckets, Collectives, Sums};
use networks::{Bf16Copies, Pass, Precision, libtorch};
use tch::{Kind, TchError, Tensor, no_grad};

use crate::error::Error;
use crate::optimizer::{AdamW, clipping_factor, total_norm};
use crate::schedule::RateSchedule;

/// A model that has a loss.
pub trait Model {
    /// Some of a step's examples, on the device.
    type Part;

    /// What gradients are taken of.
    const OBJECTIVE: Objective = Objective::Mean;

    /// How many targets the loss of a part is the mean of.
    fn targets(part: &Self::Part) -> usize;

    /// The mean loss of a part's targets, a scalar.
    fn loss(&self, part: &Self::Part, pass: Pass) -> Tensor;

    /// Returns the loss and its gradients by `parameters`, both times `weight`, with activations computed
    /// again instead of kept; `seed` decides dropout. A model with few activations keeps them.
    ///
    /// # Errors
    /// When libtorch refuses, for want of memory.
    fn gradients_recomputing(
        &self,
        part: &Self::Part,
        pass: Pass,
        parameters: &[(String, Tensor)],
        weight: f64,
        _seed: i64,
    ) -> Result<(Tensor, Vec<Tensor>), TchError> {
        let parameters: Vec<&Tensor> = parameters.iter().map(|(_, parameter)| parameter).collect();
        gradients(&weighted(self.loss(part, pass), weight), &parameters, pass)
    }
}

/// What gradients are taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// The mean over a batch's targets.
    Mean,
    /// Their sum.
    Sum,
}

fn gradients(
    loss: &Tensor,
    parameters: &[&Tensor],
    pass: Pass,
) -> Result<(Tensor, Vec<Tensor>), TchError> {
    let gradients = pass.precision.gradients(loss, parameters)?;
    Ok((loss.detach(), gradients))
}

/// A model with what changes it.
#[derive(Debug)]
pub struct Learner<M> {
    model: M,
    optimizer: AdamW,
    parameters: Vec<Tensor>,
    schedule: RateSchedule,
    options: LearnerOptions,
    /// Sums over all processes, where there are several.
    buckets: Option<Buckets>,
    /// The weights in bf16, where products are and the process is alone: buckets take gradients from the
    /// parameters themselves.
    copies: Option<Bf16Copies>,
}

/// This process's share of a step that several compute together.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Targets of the whole batch.
    pub targets: usize,
    /// This process was asked to stop.
    pub wants_to_stop: bool,
}

/// How steps are computed.
#[derive(Debug, Clone, Copy)]
pub struct LearnerOptions {
    /// Total gradient norm to clip to; 0 for no clipping.
    pub max_grad_norm: f64,
    /// Dropout and precision. A frozen GPT-2 has no dropout.
    pub pass: Pass<'static>,
    /// Compute activations twice instead of keeping them.
    pub recompute: bool,
}

/// A step that is computed but not applied. Loss and norm are scalars on the model's device.
#[derive(Debug)]
pub struct Step {
    /// Mean loss of the batch's targets.
    pub loss: Tensor,
    /// Total L2 norm of the gradients, before clipping.
    pub norm: Tensor,
    /// Loss and norm beside each other, `[2]`, to be read together.
    pub values: Tensor,
    /// Learning rate.
    pub rate: f64,
    /// How many processes were asked to stop, where there are several.
    pub wanting_to_stop: Option<Tensor>,
    number: u64,
    gradients: Vec<Tensor>,
    factor: Option<Tensor>,
}

impl<M: Model> Learner<M> {
    /// `optimizer` holds those parameters of `model` that are trained.
    #[must_use]
    pub fn new(
        model: M,
        optimizer: AdamW,
        schedule: RateSchedule,
        options: LearnerOptions,
    ) -> Self {
        let parameters = optimizer.parameters();
        let is_bf16 = matches!(options.pass.precision, Precision::Bf16);
        let copies = is_bf16.then(Bf16Copies::default);
        Self { model, optimizer, parameters, schedule, options, buckets: None, copies }
    }

    /// Lets the processes of `group` compute each step together. Each must have the same parameters.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn share(&mut self, group: &Arc<dyn Collectives>) -> Result<(), Error> {
        // Where activations are computed again, gradients of one parameter are made in several passes.
        let overlap = !self.options.recompute;
        let parameters = &self.parameters;
        self.buckets = Some(Buckets::new(Arc::clone(group), parameters, BUCKET_BYTES, overlap)?);
        self.copies = None;
        Ok(())
    }

    /// The model, to change what the optimizer does not.
    pub fn model_mut(&mut self) -> &mut M {
        &mut self.model
    }

    /// The optimizer, for checkpoints.
    #[must_use]
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// Loss and gradients on a batch, computed in `parts`, after `finished` steps; `seed` decides
    /// dropout. Parts without targets do not count.
    ///
    /// # Errors
    /// When libtorch refuses, for want of memory.
    pub fn compute(&self, parts: &[M::Part], finished: u64, seed: i64) -> Result<Step, TchError> {
        let parts = with_targets::<M>(parts);
        let all: usize = parts.iter().map(|part| M::targets(part)).sum();
        tch::manual_seed(seed);
        let (loss, gradients) = self.sum(&parts, all, seed)?;
        self.step(loss, gradients, all, finished)
    }

    fn sum(
        &self,
        parts: &[&M::Part],
        all: usize,
        seed: i64,
    ) -> Result<(Tensor, Vec<Tensor>), TchError> {
        let mut sum: Option<(Tensor, Vec<Tensor>)> = None;
        for (number, part) in (0..).zip(parts.iter().copied()) {
            // Each target weighs the same, whichever part it is in.
            let weight = M::targets(part) as f64 / all as f64;
            // Far enough apart that no two segments of two parts share a seed.
            let (loss, gradients) =
                self.gradients(part, weight, seed.wrapping_add(number << 32))?;
            match &mut sum {
                None => sum = Some((loss, gradients)),
                Some((total, totals)) => no_grad(|| {
                    let _ = total.f_add_(&loss)?;
                    libtorch::foreach_add(totals, &gradients)
                })?,
            }
        }
        let none = || (Tensor::zeros([], (Kind::Float, self.parameters[0].device())), Vec::new());
        Ok(sum.unwrap_or_else(none))
    }

    /// [`Self::compute`] of a batch of which each process has some `parts`, or none. The step is the
    /// same on all of them: of the mean over all targets of the batch, whoever has how many.
    ///
    /// # Errors
    /// When libtorch refuses, or another process is lost.
    pub fn compute_share(
        &self,
        parts: &[M::Part],
        share: Share,
        finished: u64,
        seed: i64,
    ) -> Result<Step, Error> {
        let Some(buckets) = &self.buckets else { return Ok(self.compute(parts, finished, seed)?) };
        tch::manual_seed(seed);
        let mut mean = Tensor::zeros([], (Kind::Double, self.parameters[0].device()));
        let parts = with_targets::<M>(parts);
        for (number, part) in (0..).zip(parts.iter().copied()) {
            let weight = M::targets(part) as f64 / share.targets as f64;
            buckets.expect(weight, number as usize + 1 == parts.len());
            let (loss, gradients) = self.gradients(part, 1.0, seed.wrapping_add(number << 32))?;
            buckets.add(&gradients, weight)?;
            no_grad(|| mean += loss.to_kind(Kind::Double) * weight);
        }
        // Made where it is summed: a copy of it would make the host wait.
        let stop = f64::from(u8::from(share.wants_to_stop));
        let stop = Tensor::full(1, stop, (Kind::Double, mean.device())).squeeze();
        let Sums { gradients, scalars } = buckets.finish(&[mean, stop])?;
        let loss = scalars.get(0).to_kind(Kind::Float);
        let step = self.step(loss, gradients, share.targets, finished)?;
        Ok(Step { wanting_to_stop: Some(scalars.get(1)), ..step })
    }

    /// A step without targets has loss 0 and no gradients: nothing moves, moments included.
    fn step(
        &self,
        loss: Tensor,
        gradients: Vec<Tensor>,
        targets: usize,
        finished: u64,
    ) -> Result<Step, TchError> {
        let (gradients, (norm, factor)) = if targets == 0 {
            (Vec::new(), (loss.zeros_like(), None))
        } else {
            let scale = self.norm_and_factor(&gradients, targets)?;
            (gradients, scale)
        };
        Ok(Step {
            values: Tensor::f_stack(&[&loss, &norm], 0)?,
            loss,
            norm,
            rate: self.schedule.rate(finished),
            wanting_to_stop: None,
            number: finished + 1,
            gradients,
            factor,
        })
    }

    /// The norm of the objective's gradients, and what those of the mean are multiplied with before
    /// the update.
    fn norm_and_factor(
        &self,
        gradients: &[Tensor],
        targets: usize,
    ) -> Result<(Tensor, Option<Tensor>), TchError> {
        let max_norm = self.options.max_grad_norm;
        let mut norm = total_norm(gradients)?;
        if M::OBJECTIVE == Objective::Sum {
            norm = no_grad(|| norm * targets as f64);
        }
        let clipping = (max_norm > 0.0).then(|| clipping_factor(&norm, max_norm));
        let factor = match M::OBJECTIVE {
            Objective::Mean => clipping,
            Objective::Sum => {
                let clipping = clipping.unwrap_or_else(|| norm.ones_like());
                Some(no_grad(|| clipping * targets as f64))
            }
        };
        Ok((norm, factor))
    }

    fn gradients(
        &self,
        part: &M::Part,
        weight: f64,
        seed: i64,
    ) -> Result<(Tensor, Vec<Tensor>), TchError> {
        let pass = self.pass();
        let (loss, gradients) = if self.options.recompute {
            let parameters = self.optimizer.named_parameters();
            self.model.gradients_recomputing(part, pass, parameters, weight, seed)?
        } else {
            let parameters: Vec<&Tensor> = self.parameters.iter().collect();
            gradients(&weighted(self.model.loss(part, pass), weight), &parameters, pass)?
        };
        Ok((loss, separate(gradients)))
    }

    /// Moves the parameters. On a GPU, where loss and norm are not read at each step, nothing moves if one
    /// of them is not finite.
    ///
    /// # Errors
    /// Fails if libtorch refuses, for want of memory.
    pub fn apply(&mut self, step: &Step) -> Result<(), TchError> {
        let is_on_gpu = step.values.device().is_cuda();
        let skip = is_on_gpu.then(|| libtorch::any_non_finite(&step.values)).transpose()?;
        let Step { gradients, factor, number, rate, .. } = step;
        self.optimizer.step_unless(skip.as_ref(), gradients, factor.as_ref(), *number, *rate)?;
        self.copies.as_ref().map_or(Ok(()), Bf16Copies::refresh)
    }

    /// The loss on a part without dropout.
    pub fn evaluate(&self, part: &M::Part) -> Tensor {
        let pass = Pass { dropout: false, ..self.pass() };
        no_grad(|| self.model.loss(part, pass))
    }

    /// Returns how passes are computed: with the copies of the weights, where there are any.
    fn pass(&self) -> Pass<'_> {
        let precision = self.copies.as_ref().map(Precision::Bf16Copies);
        Pass { precision: precision.unwrap_or(self.options.pass.precision), ..self.options.pass }
    }
}

/// Returns the parts that have a target: the mean of none is no number.
fn with_targets<M: Model>(parts: &[M::Part]) -> Vec<&M::Part> {
    parts.iter().filter(|part| M::targets(part) > 0).collect()
}

/// Returns the loss times `weight`, so that its gradients need not be multiplied.
fn weighted(loss: Tensor, weight: f64) -> Tensor {
    if weight.to_bits() == 1.0_f64.to_bits() { loss } else { loss * weight }
}

/// Gives each gradient memory of its own. Autograd may return one tensor for two parameters, and updates
/// write to gradients.
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
