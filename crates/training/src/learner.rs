//! One training step: loss, gradients, clipping, update. Of any model.

use networks::Pass;
use tch::{TchError, Tensor, no_grad};

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

    /// The loss with its gradients by `parameters`, activations computed again instead of kept;
    /// `seed` decides dropout. A model with few activations keeps them.
    ///
    /// # Errors
    /// When libtorch refuses, for want of memory.
    fn gradients_recomputing(
        &self,
        part: &Self::Part,
        pass: Pass,
        parameters: &[(String, Tensor)],
        _seed: i64,
    ) -> Result<(Tensor, Vec<Tensor>), TchError> {
        let parameters: Vec<&Tensor> = parameters.iter().map(|(_, parameter)| parameter).collect();
        gradients(&self.loss(part, pass), &parameters)
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

fn gradients(loss: &Tensor, parameters: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>), TchError> {
    let gradients = Tensor::f_run_backward(&[loss], parameters, false, false)?;
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
}

/// How steps are computed.
#[derive(Debug, Clone, Copy)]
pub struct LearnerOptions {
    /// Total gradient norm to clip to; 0 for no clipping.
    pub max_gradient_norm: f64,
    /// Dropout and precision. A frozen GPT-2 has no dropout.
    pub pass: Pass,
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
    /// Learning rate.
    pub rate: f64,
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
        Self { model, optimizer, parameters, schedule, options }
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
    /// dropout.
    ///
    /// # Errors
    /// When libtorch refuses, for want of memory.
    pub fn compute(&self, parts: &[M::Part], finished: u64, seed: i64) -> Result<Step, TchError> {
        let all: usize = parts.iter().map(M::targets).sum();
        tch::manual_seed(seed);
        let mut sum: Option<(Tensor, Vec<Tensor>)> = None;
        for (number, part) in (0..).zip(parts) {
            // Each target weighs the same, whichever part it is in.
            let weight = M::targets(part) as f64 / all as f64;
            // Far enough apart that no two segments of two parts share a seed.
            let (loss, gradients) = self.gradients(part, seed.wrapping_add(number << 32))?;
            sum = Some(match sum {
                None if parts.len() == 1 => (loss, gradients),
                sum => added(sum, loss, gradients, weight),
            });
        }
        let (loss, gradients) = sum.unwrap_or_default();
        let (norm, factor) = self.norm_and_factor(&gradients, all);
        let rate = self.schedule.rate(finished);
        Ok(Step { loss, norm, rate, number: finished + 1, gradients, factor })
    }

    /// The norm of the objective's gradients, and what those of the mean are multiplied with before
    /// the update.
    fn norm_and_factor(&self, gradients: &[Tensor], targets: usize) -> (Tensor, Option<Tensor>) {
        let max_norm = self.options.max_gradient_norm;
        let mut norm = total_norm(gradients);
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
        (norm, factor)
    }

    fn gradients(&self, part: &M::Part, seed: i64) -> Result<(Tensor, Vec<Tensor>), TchError> {
        let pass = self.options.pass;
        if self.options.recompute {
            let parameters = self.optimizer.named_parameters();
            return self.model.gradients_recomputing(part, pass, parameters, seed);
        }
        let parameters: Vec<&Tensor> = self.parameters.iter().collect();
        gradients(&self.model.loss(part, pass), &parameters)
    }

    /// Moves the parameters.
    pub fn apply(&mut self, step: &Step) {
        self.optimizer.step(&step.gradients, step.factor.as_ref(), step.number, step.rate);
    }

    /// The loss on a part without dropout.
    pub fn evaluate(&self, part: &M::Part) -> Tensor {
        let pass = Pass { dropout: false, ..self.options.pass };
        no_grad(|| self.model.loss(part, pass))
    }
}

/// A part's loss and gradients, weighted, added to those of the parts before it.
fn added(
    sum: Option<(Tensor, Vec<Tensor>)>,
    loss: Tensor,
    gradients: Vec<Tensor>,
    weight: f64,
) -> (Tensor, Vec<Tensor>) {
    no_grad(|| match sum {
        None => (loss * weight, gradients.into_iter().map(|gradient| gradient * weight).collect()),
        Some((mut total, mut totals)) => {
            for (total, gradient) in totals.iter_mut().zip(&gradients) {
                let _ = total.g_add_(&(gradient * weight));
            }
            let _ = total.g_add_(&(loss * weight));
            (total, totals)
        }
    })
}
