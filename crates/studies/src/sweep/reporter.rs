//! Progress of a sweep, and its results so far, as its stages start and end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use progress::Progress;

use super::definition::format_settings;
use super::plan::{Planned, Planner};
use super::results::RunStatus;
use crate::stages::{self, Damage, Outcome, Plan, StageAction};

/// Progress that several threads report to.
pub(super) type SharedProgress<'a> = Mutex<&'a mut (dyn Progress + Send)>;

/// Returns the progress of this thread alone.
pub(super) fn lock<'r, 'a>(
    progress: &'r SharedProgress<'a>,
) -> MutexGuard<'r, &'a mut (dyn Progress + Send)> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reports the stages of a sweep as its progress.
pub(super) struct StageReporter<'a, 'p> {
    pub planner: &'a Planner<'a>,
    pub planned: &'a Planned,
    /// Plan of all runs whose results are written.
    pub planned_so_far: &'a Planned,
    pub rung_trials: &'a [Vec<usize>],
    pub progress: &'a SharedProgress<'p>,
    pub done: AtomicUsize,
    pub running: Mutex<BTreeMap<usize, String>>,
}

impl StageReporter<'_, '_> {
    fn update(&self, change: impl FnOnce(&mut BTreeMap<usize, String>)) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut running);
        let lines: Vec<String> = running.values().cloned().collect();
        let mut progress = lock(self.progress);
        progress.detail(&lines.join(" | "));
        progress.position(self.done.load(Ordering::Relaxed) as u64);
    }

    /// Returns the message on a run whose stage has ended.
    fn message(&self, index: usize, outcome: &Outcome) -> Option<String> {
        let (goal, stages) =
            self.planned.goals.iter().find(|(_, stages)| stages.contains(&index))?;
        let settings = format_settings(&self.planner.sweep.trials[goal.trial].settings);
        let name = format!("trial {}, seed {} ({settings})", goal.trial, goal.seed);
        match outcome {
            Outcome::Failed { error } => {
                let first = error.split(['\n', ';']).next().unwrap_or_default();
                Some(format!("{name} failed: {first}"))
            }
            Outcome::Finished { .. } if stages.last() == Some(&index) => {
                let status = self.planner.status(self.planned, *goal).ok()?;
                let RunStatus::Measured(measured) = status else { return None };
                let metric = &self.planner.sweep.metric;
                let value = measured.values.get(metric)?;
                Some(format!("{name}: {metric} {value:.4} after {} epochs", measured.epochs))
            }
            _ => None,
        }
    }
}

impl stages::Observer for StageReporter<'_, '_> {
    fn damaged(&self, plan: &Plan, index: usize, damage: &Damage) {
        let name = &plan.stages()[index].name;
        lock(self.progress).note(&format!("{name} runs again: {}", damage.reason()));
    }

    fn started(&self, plan: &Plan, index: usize, _action: StageAction) {
        self.update(|running| {
            running.insert(index, plan.stages()[index].name.clone());
        });
    }

    fn output(&self, plan: &Plan, index: usize, line: &str) {
        self.update(|running| {
            running.insert(index, format!("{}: {line}", plan.stages()[index].name));
        });
    }

    fn ended(&self, _plan: &Plan, index: usize, outcome: &Outcome) {
        if let Some(message) = self.message(index, outcome) {
            lock(self.progress).note(&message);
            let written = self.planner.write_results(self.planned_so_far, self.rung_trials);
            if let Err(error) = written {
                lock(self.progress).note(&format!("cannot write the results so far: {error}"));
            }
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        self.update(|running| {
            running.remove(&index);
        });
    }
}
