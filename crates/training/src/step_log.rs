//! Log of the steps of a run: losses and gradient norms stay on the device until a log point.

use std::slice;
use std::time::Instant;

use progress::Progress;
use runs::RunFolder;
use runs::metrics::{MetricsError, StepRecord, Tracker};

use crate::error::Error;
use crate::not_finite;
use crate::pending::{self, PendingStep};
use crate::state::TrainState;
use crate::systems::System;

/// Steps that are computed, and the logs that they are written to.
pub(crate) struct StepLog {
    /// Writer of the log files; only rank 0 has one.
    pub tracker: Option<Tracker>,
    /// Loss of the last batch that was read and had a target.
    pub last_loss: f64,
    /// True once all processes know that one was asked to stop.
    pub stop_agreed: bool,
    pending: Vec<PendingStep>,
    /// When steps were read last.
    since: Instant,
}

impl StepLog {
    /// Begins with no steps. `last_loss` is that of the checkpoint that training resumes from.
    pub(crate) fn new(tracker: Option<Tracker>, last_loss: f64) -> Self {
        let pending = Vec::new();
        Self { tracker, last_loss, stop_agreed: false, pending, since: Instant::now() }
    }

    /// Adds a step.
    pub(crate) fn push(&mut self, step: PendingStep) {
        self.pending.push(step);
    }

    /// Returns the number of steps that are not read yet.
    pub(crate) fn pending(&self) -> u64 {
        self.pending.len() as u64
    }

    /// Refuses the newest step if its loss or norm is not finite.
    pub(crate) fn check_newest<S: System>(
        &self,
        state: &TrainState<S>,
        run: &RunFolder,
    ) -> Result<(), Error> {
        let newest = self.pending.last().map(slice::from_ref).unwrap_or_default();
        not_finite::check(newest, &pending::read(newest)?, state, run)
    }

    /// Reads the losses of all pending steps, refuses those that are not finite, and logs them.
    pub(crate) fn read<S: System>(
        &mut self,
        state: &TrainState<S>,
        run: &RunFolder,
        progress: &mut dyn Progress,
    ) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let values = pending::read(&self.pending)?;
        not_finite::check(&self.pending, &values, state, run)?;
        let targets: usize = self.pending.iter().map(|step| step.targets).sum();
        let tokens_per_second = targets as f64 / self.since.elapsed().as_secs_f64();
        let mut newest = String::new();
        for (pending, values) in self.pending.drain(..).zip(values) {
            let (step, loss) = (pending.step, values.loss);
            if pending.targets > 0 {
                self.last_loss = loss;
            } else {
                progress.note(&format!(
                    "step {step}: no token of its batch counts in the loss, so nothing was learned from it"
                ));
            }
            self.stop_agreed |= values.stop_requests > 0.0;
            if let Some(tracker) = &mut self.tracker {
                tracker.record(&StepRecord {
                    step,
                    epoch: pending.epoch,
                    loss,
                    learning_rate: pending.learning_rate,
                    gradient_norm: values.norm,
                    tokens_per_second,
                })?;
            }
            newest = format!("step {step}, loss {loss:.3}, {tokens_per_second:.0} tokens/s");
        }
        progress.detail(&newest);
        if let Some(tracker) = &mut self.tracker {
            tracker.flush()?;
        }
        self.restart_clock();
        Ok(())
    }

    /// Seals the log files, after a checkpoint is written.
    pub(crate) fn seal(&mut self) -> Result<(), MetricsError> {
        if let Some(tracker) = &mut self.tracker {
            tracker.seal()?;
        }
        self.restart_clock();
        Ok(())
    }

    /// Counts tokens per second from now on: what came before was not training.
    pub(crate) fn restart_clock(&mut self) {
        self.since = Instant::now();
    }
}
