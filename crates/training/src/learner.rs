//! One training step: loss, gradients, clipping, update.

use networks::Pass;
use networks::prefix::{ClipCaptioner, TokenBatch};
use tch::{TchError, Tensor, no_grad};

use crate::optimizer::{AdamW, clipping_factor, total_norm};
use crate::schedule::LinearSchedule;

/// A model with what changes it.
#[derive(Debug)]
pub struct Learner {
    captioner: ClipCaptioner,
    optimizer: AdamW,
    parameters: Vec<Tensor>,
    schedule: LinearSchedule,
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

/// Some of a step's captions, on the device.
#[derive(Debug)]
pub struct Part {
    /// Image embeddings, one for each caption: `[captions, clip_dim]`.
    pub embeddings: Tensor,
    /// The captions.
    pub tokens: TokenBatch,
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
    factor: Option<Tensor>,
}

impl Learner {
    /// `optimizer` holds those parameters of `captioner` that are trained.
    #[must_use]
    pub fn new(
        captioner: ClipCaptioner,
        optimizer: AdamW,
        schedule: LinearSchedule,
        options: LearnerOptions,
    ) -> Self {
        let parameters = optimizer.parameters();
        Self { captioner, optimizer, parameters, schedule, options }
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
    pub fn compute(&self, parts: &[Part], finished: u64, seed: i64) -> Result<Step, TchError> {
        let all: usize = parts.iter().map(|part| part.tokens.targets()).sum();
        tch::manual_seed(seed);
        let mut sum: Option<(Tensor, Vec<Tensor>)> = None;
        for (number, part) in (0..).zip(parts) {
            // Each target weighs the same, whichever part it is in.
            let weight = part.tokens.targets() as f64 / all as f64;
            // Far enough apart that no two segments of two parts share a seed.
            let (loss, gradients) = self.gradients(part, seed.wrapping_add(number << 32))?;
            sum = Some(match sum {
                None if parts.len() == 1 => (loss, gradients),
                sum => added(sum, loss, gradients, weight),
            });
        }
        let (loss, gradients) = sum.unwrap_or_default();
        let norm = total_norm(&gradients);
        let max_norm = self.options.max_gradient_norm;
        let factor = (max_norm > 0.0).then(|| clipping_factor(&norm, max_norm));
        let rate = self.schedule.rate(finished);
        Ok(Step { loss, norm, rate, number: finished + 1, gradients, factor })
    }

    fn gradients(&self, part: &Part, seed: i64) -> Result<(Tensor, Vec<Tensor>), TchError> {
        let Part { embeddings, tokens } = part;
        let pass = self.options.pass;
        if self.options.recompute {
            let parameters = self.optimizer.named_parameters();
            return self
                .captioner
                .gradients_recomputing(embeddings, tokens, pass, parameters, seed);
        }
        let loss = self.captioner.caption_loss(embeddings, tokens, pass);
        let gradients = Tensor::f_run_backward(&[&loss], &self.parameters, false, false)?;
        Ok((loss.detach(), gradients))
    }

    /// Moves the parameters.
    pub fn apply(&mut self, step: &Step) {
        self.optimizer.step(&step.gradients, step.factor.as_ref(), step.number, step.rate);
    }

    /// The loss on captions without dropout, and how many targets it is the mean of.
    pub fn evaluate(&self, part: &Part) -> (Tensor, usize) {
        let pass = Pass { dropout: false, ..self.options.pass };
        let loss = no_grad(|| self.captioner.caption_loss(&part.embeddings, &part.tokens, pass));
        (loss, part.tokens.targets())
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
