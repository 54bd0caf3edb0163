//! Log of the steps of a run: losses and gradient norms stay on the device until a log point.

use std::slice;
use std::time::Instant;

use progress::Progress;
use tch::{Device, Kind, TchError, Tensor};

use crate::checkpoint::Position;
use crate::error::Error;
use crate::learner::Step;
use crate::not_finite;
use crate::run_folder::RunFolder;
use crate::state::TrainState;
use crate::systems::System;
use crate::track::{StepRecord, TrackError, Tracker};

/// Steps that are computed, and the logs that they are written to.
pub(crate) struct StepLog {
    /// Writer of the log files; only rank 0 has one.
    pub tracker: Option<Tracker>,
    /// Loss of the last batch that was read and had a target.
    pub last_loss: f64,
    /// Whether one of several processes was asked to stop, and all know it.
    pub stop_agreed: bool,
    pending: Vec<PendingStep>,
    /// When steps were read last.
    since: Instant,
}

/// A step that is computed and not read yet.
pub(crate) struct PendingStep {
    /// Number of the step, from 1.
    pub step: u64,
    /// Epoch, from 1.
    pub epoch: u64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Loss and norm, and before them the number of stop requests if there are several processes.
    values: Vec<Tensor>,
    /// Targets of the step's batch.
    pub targets: usize,
    /// Examples of the step's batch.
    pub batch: Vec<usize>,
}

/// The values of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StepValues {
    pub loss: f64,
    pub norm: f64,
    /// Number of processes that were asked to stop; 0 without other processes.
    pub stop_requests: f64,
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
        not_finite::check(newest, &read(newest)?, state, run)
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
        let values = read(&self.pending)?;
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
    pub(crate) fn seal(&mut self) -> Result<(), TrackError> {
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

impl PendingStep {
    /// Describes the step that follows `position`.
    pub(crate) fn new(
        computed: &Step,
        position: &Position,
        targets: usize,
        batch: &[usize],
    ) -> Self {
        let stop = computed.stop_requests.as_ref().map(|stop| stop.view(1));
        Self {
            step: position.step + 1,
            epoch: position.epoch + 1,
            learning_rate: computed.learning_rate,
            values: stop.into_iter().chain([computed.values.shallow_clone()]).collect(),
            targets,
            batch: batch.to_vec(),
        }
    }
}

/// Reads the values of all steps, in one transfer.
///
/// # Errors
/// Fails if libtorch refuses, for want of memory.
fn read(steps: &[PendingStep]) -> Result<Vec<StepValues>, TchError> {
    let all: Vec<&Tensor> = steps.iter().flat_map(|step| &step.values).collect();
    let all = Tensor::f_cat(&all, 0)?.f_to_device(Device::Cpu)?.f_to_kind(Kind::Double)?;
    let all = Vec::<f64>::try_from(all)?;
    let width = all.len() / steps.len().max(1);
    let values = |row: &[f64]| match *row {
        [loss, norm] => StepValues { loss, norm, stop_requests: 0.0 },
        [stop_requests, loss, norm] => StepValues { loss, norm, stop_requests },
        _ => unreachable!("two or three values a step"),
    };
    Ok(all.chunks(width).map(values).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(values: Vec<Tensor>) -> PendingStep {
        let (step, epoch, learning_rate, targets) = (1, 1, 0.0, 1);
        PendingStep { step, epoch, learning_rate, values, targets, batch: Vec::new() }
    }

    #[test]
    fn values_of_all_steps_are_read_with_and_without_other_processes() {
        let values = |loss: f32, norm: f32| Tensor::from_slice(&[loss, norm]);
        let alone = [pending(vec![values(1.5, 2.0)]), pending(vec![values(f32::INFINITY, 3.0)])];
        let expected = |loss, norm, stop_requests| StepValues { loss, norm, stop_requests };
        let both = [expected(1.5, 2.0, 0.0), expected(f64::INFINITY, 3.0, 0.0)];
        assert_eq!(read(&alone).unwrap(), both);
        // Sums over processes are f64.
        let stop = |count: f64| Tensor::from_slice(&[count]);
        let several = [
            pending(vec![stop(0.0), values(0.1, 2.0)]),
            pending(vec![stop(2.0), values(0.25, 3.0)]),
        ];
        let both = [expected(f64::from(0.1_f32), 2.0, 0.0), expected(0.25, 3.0, 2.0)];
        assert_eq!(read(&several).unwrap(), both);
    }
}
