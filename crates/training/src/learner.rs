//! One training step: loss, gradients, clipping, update.

use networks::prefix::{ClipCaptioner, TokenBatch};
use tch::{TchError, Tensor};

use crate::optimizer::{AdamW, clip_gradients, total_norm};
use crate::schedule::LinearSchedule;

/// A model with what changes it.
#[derive(Debug)]
pub struct Learner {
    captioner: ClipCaptioner,
    optimizer: AdamW,
    parameters: Vec<Tensor>,
    schedule: LinearSchedule,
    max_gradient_norm: f64,
}

/// A step that is computed but not applied. Loss and norm are scalars on the model's device.
#[derive(Debug)]
pub struct Step {
    /// Mean cross entropy over the batch's target tokens.
    pub loss: Tensor,
    /// Total L2 norm of the gradients, before clipping.
    pub norm: Tensor,
    /// Learning rate.
    pub rate: f64,
    number: u64,
    gradients: Vec<Tensor>,
}

impl Learner {
    /// `optimizer` holds the parameters of `captioner`; `max_gradient_norm` of 0 is no clipping.
    #[must_use]
    pub fn new(
        captioner: ClipCaptioner,
        optimizer: AdamW,
        schedule: LinearSchedule,
        max_gradient_norm: f64,
    ) -> Self {
        let parameters = optimizer.parameters();
        Self { captioner, optimizer, parameters, schedule, max_gradient_norm }
    }

    /// The optimizer, for checkpoints.
    #[must_use]
    pub fn optimizer(&self) -> &AdamW {
        &self.optimizer
    }

    /// Loss and gradients on a batch, after `finished` steps. Dropout is active.
    ///
    /// `embeddings` are `[batch, clip_dim]`.
    ///
    /// # Errors
    /// When libtorch refuses, for want of memory.
    pub fn compute(
        &self,
        embeddings: &Tensor,
        batch: &TokenBatch,
        finished: u64,
    ) -> Result<Step, TchError> {
        let loss = self.captioner.caption_loss(embeddings, batch, true);
        let mut gradients = Tensor::f_run_backward(&[&loss], &self.parameters, false, false)?;
        let norm = if self.max_gradient_norm > 0.0 {
            clip_gradients(&mut gradients, self.max_gradient_norm)
        } else {
            total_norm(&gradients)
        };
        let rate = self.schedule.rate(finished);
        Ok(Step { loss: loss.detach(), norm, rate, number: finished + 1, gradients })
    }

    /// Moves the parameters.
    pub fn apply(&mut self, step: &Step) {
        self.optimizer.step(&step.gradients, step.number, step.rate);
    }
}
