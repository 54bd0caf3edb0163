//! The files that a sweep's results are written to.

use std::path::Path;

use super::definition::{Sweep, format_value};
use super::plan::{Planned, Planner};
use super::results::{Results, TrialResult};
use super::{Error, hparams, page};

/// The name of [`Results`]' file in a sweep's folder.
pub(super) const FILE: &str = "sweep.json";

impl Planner<'_> {
    /// Writes the results of the runs that are finished, of all tasks.
    pub(super) fn write_results(
        &self,
        planned: &Planned,
        rung_trials: &[Vec<usize>],
    ) -> Result<Results, Error> {
        // The wait is short: other threads and tasks hold this lock only while they write.
        let _lock = durable::wait_for_lock(&self.out.join("lock"))?;
        let results = self.results(planned, rung_trials)?;
        results.write(self.sweep, self.out)?;
        Ok(results)
    }
}

impl Results {
    /// Writes `sweep.json`, `trials.csv`, `index.html` and the events for TensorBoard.
    fn write(&self, sweep: &Sweep, out: &Path) -> Result<(), Error> {
        durable::write_json(&out.join(FILE), self)?;
        durable::write(&out.join("trials.csv"), self.csv(sweep).as_bytes())?;
        durable::write(&out.join("index.html"), page::page(sweep, self, out)?.as_bytes())?;
        hparams::write(sweep, self, &out.join("tensorboard"))
    }

    /// A line for each trial, the best first.
    fn csv(&self, sweep: &Sweep) -> String {
        let keys: Vec<&str> = sweep.space.axes.iter().map(|axis| axis.key.as_str()).collect();
        let metric = self.metric.as_str();
        let others = self.other_metrics();
        let std = format!("{metric} std");
        let start = [&["trial"], &keys[..], &["rung", "epochs", metric, &std]].concat();
        let head = [&start[..], &others, &["error", "folder"]].concat();
        let mut lines = csv::Writer::from_writer(Vec::new());
        // Writing to memory cannot fail.
        let _ = lines.write_record(head);
        for trial in &self.trials {
            let _ = lines.write_record(row(sweep, trial, &others));
        }
        String::from_utf8(lines.into_inner().unwrap_or_default()).unwrap_or_default()
    }
}

fn row(sweep: &Sweep, trial: &TrialResult, others: &[&str]) -> Vec<String> {
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let mut row = vec![trial.trial.to_string()];
    let settings = &sweep.trials[trial.trial].settings;
    row.extend(settings.iter().map(|(_, value)| format_value(value)));
    row.push(trial.rung.map_or_else(String::new, |rung| rung.to_string()));
    row.push(trial.epochs.map_or_else(String::new, |epochs| epochs.to_string()));
    row.extend([number(trial.mean), number(trial.std)]);
    row.extend(others.iter().map(|name| number(trial.measured.get(*name).copied())));
    row.extend([trial.error.clone().unwrap_or_default(), trial.folder.clone()]);
    row
}
