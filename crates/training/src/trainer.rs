//! Training loop, shared by all systems; read it from top to bottom.
//!
//! [`train`] starts or resumes a run and walks its epochs: shuffled batches with one step each,
//! then the loss on held-out examples, a checkpoint, and scores of captions. Losses and norms stay
//! on the device and are read every `log_every_steps`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use collectives::Collectives;
use networks::{device, libtorch};
use progress::{Progress, Unit};
use recipes::Config;
use runs::RunFolder;
use runs::metrics::{EpochRecord, Tracker};
use tch::Device;

use crate::batches::{Batching, share_of_batch};
use crate::early_stop;
use crate::error::Error;
use crate::held_out::HeldOutLoss;
use crate::learner::{Model, Share};
use crate::memory;
use crate::pending::PendingStep;
use crate::seeds::{self, Purpose};
use crate::session::{Outcome, TrainOptions};
use crate::state::TrainState;
use crate::step_log::StepLog;
use crate::systems::System;
use crate::systems::merge_rnn::MergeRnn;
use crate::systems::prefix::Prefix;
use crate::systems::sbg::Sbg;

/// Trains the run in `folder` from its newest checkpoint, or from the start.
///
/// `language_model` is the resolved folder of `gpt2.model`: a model or a run.
///
/// A resumed run must have the same configuration and data. `stop` ends training with a checkpoint,
/// after the current step or batch of held-out captions.
///
/// # Errors
/// Names bad input. After an error the last checkpoint is undamaged.
pub fn train(
    folder: &RunFolder,
    config: &Config,
    language_model: Option<&Path>,
    options: &TrainOptions,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    let train = match &config.system {
        recipes::System::ClipPrefix(_) => train_system::<Prefix>,
        recipes::System::Sbg(_) => train_system::<Sbg>,
        recipes::System::MergeRnn(_) => train_system::<MergeRnn>,
    };
    train(folder, config, language_model, options, progress, stop)
}

fn train_system<S: System>(
    folder: &RunFolder,
    config: &Config,
    language_model: Option<&Path>,
    options: &TrainOptions,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    let process = options.process;
    libtorch::use_deterministic_algorithms(config.training.deterministic);
    let device = device::parse_device(&process.device_name(&config.training.device))?;
    let timeout = Duration::from_secs(config.training.peer_timeout_seconds);
    let group = collectives::connect(process, device, timeout)?;
    // Rank 0 owns the run folder; the others wait until it exists.
    if process.rank > 0 {
        group.barrier()?;
    } else if folder.exists() && !options.resume {
        return Err(Error::RunFile {
            path: folder.path().to_owned(),
            reason: "a run was started here; add --resume to resume it, or choose another --out"
                .into(),
        });
    } else {
        folder.refuse_other_files()?;
    }
    let is_new = !folder.path().exists();
    let mut lock = if process.rank == 0 { Some(folder.lock()?) } else { None };
    let advice = memory::advice(&config.system);
    let prepared = memory::within(advice, || {
        TrainState::<S>::prepare(folder, config, language_model, options, device, progress)
    });
    let mut state = match prepared {
        Ok(state) => state,
        Err(error) => {
            if let Some(lock) = lock.take() {
                folder.forget(is_new, lock);
            }
            return Err(error);
        }
    };
    if !process.is_single() {
        if process.rank == 0 {
            group.barrier()?;
        }
        memory::within(advice, || state.join(&group, config))?;
    }
    let tracker = match lock {
        Some(_) => Some(Tracker::open(folder.path(), state.position.step)?),
        None => None,
    };
    let last_loss = state.position.last_loss.unwrap_or(f64::NAN);
    let trainer = Trainer {
        config,
        folder,
        last_epoch: options.stop_after_epochs.unwrap_or(u64::MAX),
        state,
        group,
        log: StepLog::new(tracker, last_loss),
    };
    memory::within(advice, || trainer.run(progress, stop))
}

struct Trainer<'a, S: System> {
    config: &'a Config,
    folder: &'a RunFolder,
    /// Last epoch of this call.
    last_epoch: u64,
    state: TrainState<S>,
    group: Arc<dyn Collectives>,
    log: StepLog,
}

/// Share of a batch of one process, on the device.
type Microbatches<S> = Vec<<<S as System>::Model as Model>::Batch>;

impl<S: System> Trainer<'_, S> {
    fn run(mut self, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<Outcome, Error> {
        let training = &self.config.training;
        self.state.finish_rotation(self.folder, training)?;
        // A run that was killed while captioning has a checkpoint without scores.
        self.score_epoch(progress)?;
        progress.unsaved(true);
        while !self.state.position.finished {
            let epoch = self.state.position.epoch;
            if epoch >= self.last_epoch {
                return Ok(Outcome::Paused { epochs: epoch });
            }
            let batches = Batching::new(training).epoch(epoch, self.state.system.examples());
            let task = format!("epoch {}/{}", epoch + 1, training.epochs);
            // Of the whole run, so that the time left is, too.
            let total = training.epochs.min(self.last_epoch) * batches.len() as u64;
            progress.start(&task, Unit::Count("batches"), Some(total), self.state.position.step);
            let mut left = batches.iter().skip(self.state.position.batch).peekable();
            let mut ahead = None;
            while let Some(batch) = left.next() {
                let microbatches = ahead.take().unwrap_or_else(|| self.microbatches(batch));
                self.step(batch, &microbatches, stop)?;
                // The next batch is prepared before the host waits for the device.
                ahead = left.peek().map(|next| self.microbatches(next));
                progress.position(self.state.position.step);
                if self.log.pending() >= training.log_every_steps {
                    self.log.read(&self.state, self.folder, progress)?;
                }
                if self.state.position.batch == batches.len() {
                    break;
                }
                if self.should_stop(stop) {
                    self.save(progress)?;
                    return Ok(Outcome::Interrupted { steps: self.state.position.step });
                }
                let every = training.checkpoint_every_steps;
                if every > 0 && self.state.position.step.is_multiple_of(every) {
                    self.save(progress)?;
                }
            }
            let is_measured = self.end_epoch(progress, stop)?;
            if !is_measured || self.should_stop(stop) && !self.state.position.finished {
                return Ok(Outcome::Interrupted { steps: self.state.position.step });
            }
        }
        if self.state.position.epoch < training.epochs {
            return Ok(Outcome::StoppedEarly { epochs: self.state.position.epoch });
        }
        Ok(Outcome::Finished { steps: self.state.position.step })
    }

    /// Returns this process's share of a batch on the device, in the configured microbatches.
    fn microbatches(&self, batch: &[usize]) -> Microbatches<S> {
        let TrainState { system, inputs, process, .. } = &self.state;
        let examples = system.examples();
        let batch = share_of_batch(batch, examples, *process);
        let size = batch.len().div_ceil(self.config.training.gradient_accumulation_steps).max(1);
        let examples: Vec<&S::Example> = batch.iter().map(|&index| &examples[index]).collect();
        examples.chunks(size).map(|some| system.batch(some, inputs)).collect()
    }

    /// Trains on one batch.
    ///
    /// On a CPU, where reading is free, loss and norm are checked before the update; on a GPU they
    /// are read every `log_every_steps`, so that no step waits for it.
    fn step(
        &mut self,
        batch: &[usize],
        microbatches: &Microbatches<S>,
        stop: &AtomicBool,
    ) -> Result<(), Error> {
        let TrainState { system, learner, position, device, process, .. } = &self.state;
        let seed = seeds::derive(self.config.training.seed, Purpose::Dropout, position.step);
        // Far enough apart that no two microbatches of two processes share a seed.
        let seed = seed.wrapping_add((process.rank as i64) << 48);
        let examples = system.examples();
        let targets = batch.iter().map(|&index| system.targets(&examples[index])).sum();
        let share = Share { targets, stop_requested: stop.load(Ordering::Relaxed) };
        let step = learner.compute_share(microbatches, share, position.step, seed)?;
        self.log.push(PendingStep::new(&step, position, targets, batch));
        if *device == Device::Cpu {
            self.log.check_newest(&self.state, self.folder)?;
        }
        self.state.learner.apply(&step)?;
        self.state.position.step += 1;
        self.state.position.batch += 1;
        Ok(())
    }

    /// Returns true if training must stop.
    ///
    /// Several processes stop after the same step, which they agree on when losses are read.
    fn should_stop(&self, stop: &AtomicBool) -> bool {
        let is_alone = self.state.process.is_single();
        if is_alone { stop.load(Ordering::Relaxed) } else { self.log.stop_agreed }
    }

    /// Measures the held-out loss, decides whether training is finished, saves and scores.
    ///
    /// Returns false if `stop` was set before the loss was measured.
    fn end_epoch(&mut self, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<bool, Error> {
        self.log.read(&self.state, self.folder, progress)?;
        let measured = self.state.held_out_loss(self.config, self.group.as_ref(), stop)?;
        let HeldOutLoss::Measured(held_out_loss) = measured else {
            self.state.position.last_loss = Some(self.log.last_loss);
            self.save(progress)?;
            return Ok(false);
        };
        let position = &mut self.state.position;
        let last_loss = self.log.last_loss;
        early_stop::end_epoch(position, &self.config.training, last_loss, held_out_loss);
        let (epoch, step) = (position.epoch, position.step);
        if let Some(tracker) = &mut self.log.tracker {
            let validation_loss = held_out_loss;
            tracker.record_epoch(&EpochRecord { epoch, step, last_loss, validation_loss })?;
        }
        if let Some(loss) = held_out_loss {
            progress.note(&format!("epoch {epoch}: loss {loss:.3} on held-out captions"));
        }
        self.save(progress)?;
        self.score_epoch(progress)?;
        Ok(true)
    }

    /// Captions and scores some images with the last epoch's checkpoint, unless already done.
    fn score_epoch(&mut self, progress: &mut dyn Progress) -> Result<(), Error> {
        let TrainState { scored, position, inputs, device, .. } = &self.state;
        let (Some(scored), Some(tracker)) = (scored, &mut self.log.tracker) else {
            return Ok(());
        };
        if position.batch > 0 || position.epoch == tracker.scored_epochs() {
            return Ok(());
        }
        progress.unsaved(false);
        // Sampling has no deterministic algorithm on a GPU, and training does not depend on scores.
        libtorch::use_deterministic_algorithms(false);
        let (scores, samples) = memory::within(memory::DECODING, || {
            scored.score(self.folder, self.config, inputs, *device, progress)
        })?;
        libtorch::use_deterministic_algorithms(self.config.training.deterministic);
        progress.unsaved(true);
        tracker.record_scores(&scores, &samples)?;
        progress.note(&format!(
            "epoch {}: BLEU-4 {:.3}, CIDEr {:.3} on {} {} pictures",
            scores.epoch, scores.bleu_4, scores.cider, scores.pictures, scores.split
        ));
        self.log.restart_clock();
        Ok(())
    }

    /// Writes a checkpoint, after checking that all earlier losses are finite.
    fn save(&mut self, progress: &mut dyn Progress) -> Result<(), Error> {
        self.log.read(&self.state, self.folder, progress)?;
        if self.state.process.rank == 0 {
            self.state.save(self.folder, &self.config.training)?;
            self.log.seal()?;
        }
        Ok(())
    }
}
