//! Pretraining of what captioners start from: CLIP by its contrastive objective, GPT-2 as a language
//! model.
//!
//! For small models on small data, where no pretrained ones can be had. A step is a batch drawn anew from
//! all pictures or all texts; the seed decides weights, batches and dropout, so the same call writes the
//! same bytes on the same machine. Nothing is written before the end.

mod contrastive;
mod language;

use std::sync::atomic::{AtomicBool, Ordering};

use networks::Precision;
use recipes::{Rule, Schedule};
use tch::Tensor;

use training::Error;
use training::learner::{Learner, LearnerOptions, Model};
use training::optimizer::{AdamW, AdamWOptions};
use training::schedule::RateSchedule;
use training::seeds::{self, Purpose};

pub use contrastive::{ClipOptions, clip};
pub use language::{Gpt2Options, gpt2};

/// Weights, their gradients and the optimizer's two moments.
const TRAINED_COPIES: u128 = 4;

/// How long and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// Steps in all.
    pub steps: u64,
    /// Pictures with a text each, or blocks of text, in a step.
    pub batch_size: usize,
    /// The peak of the learning rate, which falls to 0 at the last step.
    pub learning_rate: f64,
    /// Steps from 0 to the peak.
    pub warmup_steps: u64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decides everything that is random.
    pub seed: u64,
}

/// A step that was done.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// The loss of its batch.
    pub loss: f64,
}

impl Course {
    fn learner<M: Model>(
        &self,
        model: M,
        parameters: Vec<(String, Tensor)>,
        dropout: bool,
    ) -> Learner<M> {
        let rule = AdamWOptions {
            rule: Rule::Torch,
            beta1: 0.9,
            beta2: 0.98,
            epsilon: 1e-6,
            weight_decay: self.weight_decay,
        };
        let schedule = RateSchedule {
            shape: Schedule::Linear,
            peak: self.learning_rate,
            warmup_steps: self.warmup_steps,
            total_steps: self.steps,
        };
        let options = LearnerOptions {
            max_grad_norm: 1.0,
            dropout,
            precision: Precision::Full,
            gradient_checkpointing: false,
        };
        Learner::new(model, AdamW::new(parameters, rule), schedule, options)
    }

    /// Walks all steps, or those before `stop` is set, which gives false. `part` gives the batch of a step, `behind` is called after each update.
    fn walk<M: Model>(
        &self,
        learner: &mut Learner<M>,
        mut part: impl FnMut(u64) -> Result<M::Batch, Error>,
        mut behind: impl FnMut(&mut M) -> Result<(), Error>,
        progress: &mut dyn FnMut(Progress),
        stop: &AtomicBool,
    ) -> Result<bool, Error> {
        for step in 0..self.steps {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let part = part(step)?;
            let computed =
                learner.compute(&[part], step, seeds::derive(self.seed, Purpose::Dropout, step))?;
            let loss = computed.loss.double_value(&[]);
            if !loss.is_finite() {
                return Err(Error::Mismatch(format!(
                    "the loss is {loss} at step {}; a lower learning rate may help",
                    step + 1
                )));
            }
            learner.apply(&computed)?;
            behind(learner.model_mut())?;
            progress(Progress { step: step + 1, loss });
        }
        Ok(true)
    }

    /// The numbers of a step's batch, drawn among `count` without one twice; all of them where there
    /// are not as many.
    fn batch(&self, step: u64, count: usize) -> Vec<usize> {
        let per_pass = (count / self.batch_size).max(1) as u64;
        let order = seeds::permutation(self.seed, Purpose::Order, step / per_pass, count);
        let first = (step % per_pass) as usize * self.batch_size;
        order[first..(first + self.batch_size).min(count)].to_vec()
    }
}
