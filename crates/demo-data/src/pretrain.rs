//! Pretraining of small models: CLIP by its contrastive objective, from scratch or on features of a
//! locked encoder, an image encoder by sentence embeddings, and GPT-2 as a language model.
//!
//! For small data without published models. A step is a random batch of images or texts; the seed
//! decides weights, batches and dropout, so that the same call writes the same bytes on the same
//! machine. Nothing is written before the end.

mod contrastive;
mod language;
mod locked;
mod retrieval;
mod tuned;

use std::sync::atomic::{AtomicBool, Ordering};

use datasets::Corpus;
use networks::{Precision, device};
use progress::{Progress, Unit};
use recipes::{Rule, Schedule};
use tch::Tensor;

use training::Error;
use training::learner::{Learner, LearnerOptions, Model};
use training::memory;
use training::optimizer::{AdamW, AdamWOptions};
use training::schedule::RateSchedule;
use training::seeds::{self, Purpose};

pub use contrastive::{ClipOptions, clip};
pub use language::{Gpt2Options, gpt2};
pub use locked::{LitOptions, lit};
pub use retrieval::{RETRIEVAL_FILE, Retrieval, Retrievals};
pub use tuned::{EncoderOptions, TunedRetrievals, encoder};

/// Copies of the weights in memory: weights, gradients and the optimizer's two moments.
const TRAINED_COPIES: u128 = 4;

/// Settings of a pretraining: number of steps, batch size, optimizer and random seed.
#[derive(Debug, Clone, Copy)]
pub struct TrainingOptions {
    /// Total number of steps.
    pub steps: u64,
    /// Images with one text each, or blocks of text, in a step.
    pub batch_size: usize,
    /// Peak of the learning rate, which falls to 0 at the last step.
    pub learning_rate: f64,
    /// Steps from 0 to the peak.
    pub warmup_steps: u64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Seed of everything random.
    pub seed: u64,
}

impl TrainingOptions {
    fn learner<M: Model>(
        &self,
        model: M,
        parameters: Vec<(String, Tensor)>,
        dropout: bool,
    ) -> Learner<M> {
        device::keep_freed_memory();
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

    /// Trains all steps; returns false if `stop` was set before the end.
    ///
    /// `make_batch` returns the batch of a step, and `after_step` is called after each update.
    fn train<M: Model>(
        &self,
        learner: &mut Learner<M>,
        mut make_batch: impl FnMut(u64) -> Result<M::Batch, Error>,
        mut after_step: impl FnMut(&mut M) -> Result<(), Error>,
        progress: &mut dyn Progress,
        stop: &AtomicBool,
    ) -> Result<bool, Error> {
        progress.start("training", Unit::Count("steps"), Some(self.steps), 0);
        for step in 0..self.steps {
            if stop.load(Ordering::Relaxed) {
                progress.finish();
                return Ok(false);
            }
            let batch = make_batch(step)?;
            let dropout = seeds::derive(self.seed, Purpose::Dropout, step);
            let advice = "use a smaller --batch-size";
            let computed = memory::within(advice, || learner.compute(&[batch], step, dropout))?;
            let loss = computed.loss.double_value(&[]);
            if !loss.is_finite() {
                return Err(Error::Mismatch(format!(
                    "the loss is {loss} at step {}; a lower learning rate may help",
                    step + 1
                )));
            }
            learner.apply(&computed)?;
            after_step(learner.model_mut())?;
            // The folder is written after the last step.
            progress.unsaved(step + 1 == self.steps);
            progress.detail(&format!("loss {loss:.3}"));
            progress.position(step + 1);
        }
        progress.finish();
        Ok(true)
    }

    /// Returns the index of the caption that an image is paired with in a step.
    fn caption(&self, step: u64, corpus: &Corpus, image: usize) -> usize {
        let drawn = self.draw(Purpose::Text, step, corpus, image);
        (drawn % corpus.images[image].captions.len() as u64) as usize
    }

    /// Returns true if an image is mirrored in a step, which has probability 1/2.
    fn is_mirrored(&self, step: u64, corpus: &Corpus, image: usize) -> bool {
        self.draw(Purpose::Mirror, step, corpus, image) % 2 == 1
    }

    /// Returns a random number for an image in a step.
    fn draw(&self, purpose: Purpose, step: u64, corpus: &Corpus, image: usize) -> u64 {
        let number = step.wrapping_mul(corpus.images.len() as u64) + image as u64;
        seeds::derive(self.seed, purpose, number).unsigned_abs()
    }

    /// Returns the number of steps in a pass over `count` images or texts.
    #[must_use]
    pub fn steps_per_pass(count: usize, batch_size: usize) -> u64 {
        (count / batch_size).max(1) as u64
    }

    /// Returns the indices of a step's batch, distinct numbers below `count`, or all if fewer.
    fn batch(&self, step: u64, count: usize) -> Vec<usize> {
        let per_pass = Self::steps_per_pass(count, self.batch_size);
        let order = seeds::permutation(self.seed, Purpose::Order, step / per_pass, count);
        let first = (step % per_pass) as usize * self.batch_size;
        order[first..(first + self.batch_size).min(count)].to_vec()
    }
}
