//! The training loop, the same for every system.
//!
//! Shuffled batches, AdamW with a schedule, optional clipping, a loss on held-out examples after each
//! epoch, early stop, checkpoints, and scores of captions after each. Losses and norms stay on the device
//! and are fetched every `log_every_steps`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use collectives::Collectives;
use launchers::Place;
use networks::libtorch;
use tch::Device;

use crate::batches::{Batching, dealt};
use crate::checkpoint;
use crate::error::Error;
use crate::learner::{Model, Share};
use crate::losses::{self, Pending, Values};
use crate::memory;
use crate::prepare::{Prepared, device_of, named_variables, prepare};
use crate::seeds::{self, Purpose};
use crate::systems::System;
use crate::systems::merge_rnn::MergeRnn;
use crate::systems::prefix::Prefix;
use crate::systems::sbg::Sbg;
use crate::validation::Measured;
use recipes::{self, Config, EarlyStopOn};
use runs::RunFolder;
use runs::checkpoints::{self, Keep};
use runs::metrics::{EpochRecord, EpochScores, StepRecord, Tracker};

/// How a training run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done.
    Finished {
        /// Steps in all.
        steps: u64,
    },
    /// The loss had not improved for the configured number of epochs.
    StoppedEarly {
        /// Epochs done.
        epochs: u64,
    },
    /// As many epochs are done as were asked for now; a checkpoint was written and `--resume` goes on
    /// from it.
    Paused {
        /// Epochs done.
        epochs: u64,
    },
    /// Asked to stop; a checkpoint was written and `--resume` goes on from it.
    Interrupted {
        /// Steps done.
        steps: u64,
    },
}

/// What one call of [`train`] does of a run; the run itself is its configuration's.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// Go on with a run that is there; without it there must be none.
    pub resume: bool,
    /// Stop once so many epochs of the run are done, with the schedule of all of them.
    pub stop_after_epochs: Option<u64>,
    /// Where custom tokenizers are kept for runs that need the same ([`crate::tokenizers`]).
    pub tokenizers: Option<PathBuf>,
    /// Which of how many processes that train the run together this one is.
    pub place: Place,
}

/// Told what happens, to show it.
pub trait Observer {
    /// Something a person should know.
    fn note(&mut self, message: &str);
    /// An epoch (from 1) begins at batch `done` of `batches`.
    fn epoch(&mut self, epoch: u64, epochs: u64, done: usize, batches: usize);
    /// One more batch is done.
    fn batch(&mut self);
    /// Losses were fetched; the newest.
    fn record(&mut self, record: &StepRecord);
    /// An epoch is done and measured.
    fn epoch_record(&mut self, record: &EpochRecord);
    /// So many of the pictures that an epoch is scored on are captioned.
    fn captioned(&mut self, done: usize, pictures: usize);
    /// An epoch's captions are scored.
    fn epoch_scores(&mut self, scores: &EpochScores);
    /// There is work now, or there is none any more, that is not saved. Where there is, training heeds a
    /// stop and saves it; where there is none, the process may end at once.
    fn unsaved(&mut self, is_unsaved: bool) {
        let _ = is_unsaved;
    }
}

/// Trains the run in `folder` from its newest checkpoint, or from the start: from `language_model`,
/// the folder of a model or of a run, which is where `gpt2.model` was found.
///
/// A run that is resumed must have the same configuration and data. Setting `stop` ends training after the
/// step under way, or the batch of held-out captions, with a checkpoint.
///
/// # Errors
/// Bad input is named; after an error the last checkpoint is whole.
pub fn train(
    folder: &RunFolder,
    config: &Config,
    language_model: Option<&Path>,
    session: &Session,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    let train = match &config.system {
        recipes::System::ClipPrefix(_) => train_system::<Prefix>,
        recipes::System::Sbg(_) => train_system::<Sbg>,
        recipes::System::MergeRnn(_) => train_system::<MergeRnn>,
    };
    train(folder, config, language_model, session, observer, stop)
}

fn train_system<S: System>(
    folder: &RunFolder,
    config: &Config,
    language_model: Option<&Path>,
    session: &Session,
    observer: &mut dyn Observer,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    let place = session.place;
    libtorch::use_deterministic_algorithms(config.training.deterministic);
    let device = device_of(config, place)?;
    let timeout = Duration::from_secs(config.training.peer_timeout_seconds);
    let group = collectives::connect(place, device, timeout)?;
    // The run folder is rank 0's; the others wait until it is there.
    if place.rank > 0 {
        group.barrier()?;
    } else if folder.exists() && !session.resume {
        return Err(Error::RunFile {
            path: folder.path().to_owned(),
            reason:
                "a run was started here; add --resume to go on with it, or choose another --out"
                    .into(),
        });
    }
    let is_new = !folder.path().exists();
    let mut lock = if place.rank == 0 { Some(folder.lock()?) } else { None };
    let advice = memory::advice(&config.system);
    let prepared = memory::within(advice, || {
        prepare::<S>(folder, config, language_model, session, device, observer)
    });
    let mut at = match prepared {
        Ok(at) => at,
        Err(error) => {
            if let Some(lock) = lock.take() {
                folder.forget(is_new, lock);
            }
            return Err(error);
        }
    };
    if !place.is_alone() {
        if place.rank == 0 {
            group.barrier()?;
        }
        memory::within(advice, || at.join(&group, config))?;
    }
    let tracker = match lock {
        Some(_) => Some(Tracker::open(folder.path(), at.position.step)?),
        None => None,
    };
    let mut trainer = Trainer {
        tracker,
        place,
        group,
        asked_to_stop: false,
        config,
        folder,
        last_epoch: session.stop_after_epochs.unwrap_or(u64::MAX),
        at,
        ahead: None,
        pending: Vec::new(),
        pending_since: Instant::now(),
        last_loss: f64::NAN,
    };
    trainer.last_loss = trainer.at.position.last_loss.unwrap_or(f64::NAN);
    memory::within(advice, || trainer.run(observer, stop))
}

struct Trainer<'a, S: System> {
    config: &'a Config,
    folder: &'a RunFolder,
    /// The epoch after which this session stops.
    last_epoch: u64,
    /// Data, model, and where training is.
    at: Prepared<S>,
    /// Rank 0's.
    tracker: Option<Tracker>,
    place: Place,
    group: Arc<dyn Collectives>,
    /// Another process, or this one, was asked to stop, and all know.
    asked_to_stop: bool,
    /// The parts of the next batch of the epoch, which are made before the device is waited for.
    ahead: Option<Vec<<S::Model as Model>::Part>>,
    pending: Vec<Pending>,
    pending_since: Instant,
    last_loss: f64,
}

impl<S: System> Trainer<'_, S> {
    fn run(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<Outcome, Error> {
        let training = &self.config.training;
        self.end_rotation()?;
        // A run that was killed while it captioned has a checkpoint without scores.
        self.score_epoch(observer)?;
        observer.unsaved(true);
        while !self.at.position.finished {
            let epoch = self.at.position.epoch;
            if epoch >= self.last_epoch {
                return Ok(Outcome::Paused { epochs: epoch });
            }
            let batches = Batching::new(training).epoch(epoch, self.at.system.examples());
            observer.epoch(epoch + 1, training.epochs, self.at.position.batch, batches.len());
            let mut left = batches.iter().skip(self.at.position.batch).peekable();
            while let Some(batch) = left.next() {
                self.step(batch, stop)?;
                self.ahead = left.peek().map(|next| self.parts(next));
                observer.batch();
                if self.pending.len() as u64 >= training.log_every_steps {
                    self.fetch(observer)?;
                }
                if self.at.position.batch == batches.len() {
                    break;
                }
                if self.stops(stop) {
                    self.save(observer)?;
                    return Ok(Outcome::Interrupted { steps: self.at.position.step });
                }
                let every = training.checkpoint_every_steps;
                if every > 0 && self.at.position.step.is_multiple_of(every) {
                    self.save(observer)?;
                }
            }
            let is_measured = self.end_epoch(observer, stop)?;
            if !is_measured || self.stops(stop) && !self.at.position.finished {
                return Ok(Outcome::Interrupted { steps: self.at.position.step });
            }
        }
        if self.at.position.epoch < training.epochs {
            return Ok(Outcome::StoppedEarly { epochs: self.at.position.epoch });
        }
        Ok(Outcome::Finished { steps: self.at.position.step })
    }

    /// Whether to stop. Of several processes all stop after the same step, which is known where losses
    /// are fetched.
    fn stops(&self, stop: &AtomicBool) -> bool {
        if self.place.is_alone() { stop.load(Ordering::Relaxed) } else { self.asked_to_stop }
    }

    /// One batch. On a CPU, where fetching is free, loss and norm are checked before the update; from
    /// a GPU they are fetched every `log_every_steps`, so that no step waits for the device.
    fn step(&mut self, batch: &[usize], stop: &AtomicBool) -> Result<(), Error> {
        let finished = self.at.position.step;
        let seed = seeds::derive(self.config.training.seed, Purpose::Dropout, finished);
        // Far enough apart that no two parts of two processes share a seed.
        let seed = seed.wrapping_add((self.place.rank as i64) << 48);
        let parts = self.ahead.take().unwrap_or_else(|| self.parts(batch));
        let examples = self.at.system.examples();
        let targets = batch.iter().map(|&index| self.at.system.targets(&examples[index])).sum();
        let share = Share { targets, wants_to_stop: stop.load(Ordering::Relaxed) };
        let step = self.at.learner.compute_share(&parts, share, finished, seed)?;
        let epoch = self.at.position.epoch + 1;
        let pending = [Pending::new(&step, finished + 1, epoch, targets, batch)];
        if self.at.device == Device::Cpu {
            self.check_finite(&pending, &losses::read(&pending)?)?;
        }
        self.at.learner.apply(&step)?;
        self.pending.extend(pending);
        self.at.position.step += 1;
        self.at.position.batch += 1;
        Ok(())
    }

    /// Returns this process's share of a batch on the device, in as many parts as are configured.
    fn parts(&self, batch: &[usize]) -> Vec<<S::Model as Model>::Part> {
        let examples = self.at.system.examples();
        let batch = dealt(batch, examples, self.place);
        let size = batch.len().div_ceil(self.config.training.gradient_accumulation_steps).max(1);
        let examples: Vec<&S::Example> = batch.iter().map(|&index| &examples[index]).collect();
        examples.chunks(size).map(|some| self.at.system.part(some, &self.at.inputs)).collect()
    }

    /// Fetches what is pending, refuses what is not finite, and writes it down.
    fn fetch(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let values = losses::read(&self.pending)?;
        self.check_finite(&self.pending, &values)?;
        let targets: usize = self.pending.iter().map(|pending| pending.targets).sum();
        let tokens_per_second = targets as f64 / self.pending_since.elapsed().as_secs_f64();
        let mut newest = None;
        for (pending, values) in self.pending.drain(..).zip(values) {
            let record = StepRecord {
                step: pending.step,
                epoch: pending.epoch,
                loss: values.loss,
                learning_rate: pending.rate,
                gradient_norm: values.norm,
                tokens_per_second,
            };
            if pending.targets > 0 {
                self.last_loss = record.loss;
            } else {
                observer.note(&format!(
                    "step {}: no token of its batch counts in the loss, so nothing was learned from it",
                    pending.step
                ));
            }
            self.asked_to_stop |= values.wanting_to_stop > 0.0;
            if let Some(tracker) = &mut self.tracker {
                tracker.record(&record)?;
            }
            newest = Some(record);
        }
        if let Some(record) = newest {
            observer.record(&record);
        }
        if let Some(tracker) = &mut self.tracker {
            tracker.flush()?;
        }
        self.pending_since = Instant::now();
        Ok(())
    }

    /// Refuses the first step whose loss or norm is not finite. On a GPU it moved nothing.
    fn check_finite(&self, pending: &[Pending], values: &[Values]) -> Result<(), Error> {
        for (pending, values) in pending.iter().zip(values) {
            for (what, value) in [("loss", values.loss), ("gradient norm", values.norm)] {
                if !value.is_finite() {
                    return Err(self.not_finite(what, value, pending)?);
                }
            }
        }
        Ok(())
    }

    fn not_finite(
        &self,
        what: &'static str,
        value: f64,
        pending: &Pending,
    ) -> Result<Error, Error> {
        let mut captions = String::new();
        for &index in &pending.batch {
            let example = &self.at.system.examples()[index];
            let _ = writeln!(captions, "{}", self.at.system.describe(example, &self.at.inputs));
        }
        let list = self.folder.path().join("not-finite-batch.txt");
        if self.place.rank == 0 {
            durable::write(&list, captions.as_bytes())?;
        }
        let first: Vec<String> = captions.lines().take(3).map(|line| format!("  {line}")).collect();
        Ok(Error::NotFinite {
            what,
            value,
            step: pending.step,
            captions: pending.batch.len(),
            list,
            first: first.join("\n"),
        })
    }

    /// Measures the epoch, and decides whether to stop early: the loss has not beaten the best such
    /// loss for so many epochs in a row. Returns whether it was measured before `stop` was set.
    fn end_epoch(&mut self, observer: &mut dyn Observer, stop: &AtomicBool) -> Result<bool, Error> {
        self.fetch(observer)?;
        let measured = self.at.held_out_loss(self.config, self.group.as_ref(), stop)?;
        let Measured::Loss(validation_loss) = measured else {
            self.at.position.last_loss = Some(self.last_loss);
            self.save(observer)?;
            return Ok(false);
        };
        let training = &self.config.training;
        let deciding_loss = match training.early_stop_on {
            EarlyStopOn::LastBatch => self.last_loss,
            EarlyStopOn::HeldOut => validation_loss.unwrap_or(self.last_loss),
        };
        let position = &mut self.at.position;
        position.epoch += 1;
        position.batch = 0;
        position.last_loss = None;
        // No number only where none of the epoch's batches since a resume had a target.
        let is_better =
            |loss: f64, best: Option<f64>| loss.is_finite() && best.is_none_or(|best| loss < best);
        if is_better(deciding_loss, position.best_loss) {
            position.best_loss = Some(deciding_loss);
            position.epochs_without_improvement = 0;
        } else {
            position.epochs_without_improvement += 1;
        }
        let measure = validation_loss.unwrap_or(self.last_loss);
        if is_better(measure, position.best.map(|(best, _)| best)) {
            position.best = Some((measure, position.step));
        }
        let patience = training.early_stop_epochs;
        position.finished = position.epoch >= training.epochs
            || (patience > 0 && position.epochs_without_improvement >= patience);
        let record = EpochRecord {
            epoch: position.epoch,
            step: position.step,
            last_loss: self.last_loss,
            validation_loss,
        };
        if let Some(tracker) = &mut self.tracker {
            tracker.record_epoch(&record)?;
        }
        observer.epoch_record(&record);
        self.save(observer)?;
        self.score_epoch(observer)?;
        Ok(true)
    }

    /// Captions and scores some pictures with the checkpoint of the last epoch, unless that is done.
    fn score_epoch(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        let (Some(scored), Some(tracker)) = (&self.at.scored, &mut self.tracker) else {
            return Ok(());
        };
        let position = &self.at.position;
        if position.batch > 0 || position.epoch == tracker.scored_epochs() {
            return Ok(());
        }
        observer.unsaved(false);
        let progress = |done, pictures| observer.captioned(done, pictures);
        // Sampling has no deterministic algorithm on a GPU, and training does not depend on scores.
        libtorch::use_deterministic_algorithms(false);
        let scores = memory::within(memory::DECODING, || {
            scored.score(self.folder, self.config, &self.at.inputs, self.at.device, progress)
        })?;
        libtorch::use_deterministic_algorithms(self.config.training.deterministic);
        observer.unsaved(true);
        tracker.record_scores(&scores)?;
        observer.epoch_scores(&scores);
        self.pending_since = Instant::now();
        Ok(())
    }

    fn save(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        self.fetch(observer)?;
        if self.place.rank > 0 {
            return Ok(());
        }
        checkpoint::save(
            &self.folder.checkpoints(),
            &self.at.position,
            &named_variables(&self.at.store),
            self.at.learner.optimizer(),
            self.keep(),
        )?;
        if let Some(tracker) = &mut self.tracker {
            tracker.seal()?;
        }
        self.pending_since = Instant::now();
        Ok(())
    }

    /// Removes the checkpoints that a process which was killed at it would have removed.
    fn end_rotation(&self) -> Result<(), Error> {
        if self.place.rank > 0 || self.at.position.step == 0 {
            return Ok(());
        }
        Ok(checkpoints::rotate(&self.folder.checkpoints(), &self.at.position, self.keep())?)
    }

    fn keep(&self) -> Keep {
        let training = &self.config.training;
        Keep {
            newest: training.save_total_limit,
            best: training.keep_best_checkpoint,
            every_steps: training.keep_every_steps,
        }
    }
}
