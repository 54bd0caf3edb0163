//! Results of a sweep so far, and their files.

use std::collections::BTreeMap;

use recipes::Config;
use runs::ScoresFile;
use runs::metrics::{self, EpochRecord, ScoredSplit};
use serde::Serialize;

use super::Error;
use super::definition::{Search, VALIDATION_LOSS};
use super::halving::Direction;
use super::plan::{Goal, Planned, Planner};
use super::space::Settings;
use crate::stages::StageAction;
use crate::statistics;

/// Results of a sweep, the contents of `sweep.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    /// Name of the sweep.
    pub name: String,
    /// Search strategy.
    pub search: Search,
    /// Metric that ranks trials.
    pub metric: String,
    /// Direction in which the metric improves.
    pub direction: Direction,
    /// Scored split.
    pub split: ScoredSplit,
    /// Ranked variant of runs that rerank captions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<String>,
    /// Seeds of each trial.
    pub seeds: Vec<u64>,
    /// True if all trials are finished.
    pub complete: bool,
    /// Number of finished stages, of [`Self::planned_stages`].
    #[serde(skip)]
    pub finished_stages: usize,
    /// Number of stages of all runs that are planned so far.
    #[serde(skip)]
    pub planned_stages: usize,
    /// Seconds that the commands of the stages ran.
    #[serde(skip)]
    pub seconds: f64,
    /// Search space, as in the sweep file.
    pub space: BTreeMap<String, serde_json::Value>,
    /// Trials, best first: by the rung reached, then by their metric; failed ones last.
    pub trials: Vec<TrialResult>,
}

/// Results of a trial.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrialResult {
    /// Number of the trial, from 0.
    pub trial: usize,
    /// Values of the varied keys.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// Folder, relative to the sweep's.
    pub folder: String,
    /// Last rung, from 0, that all seeds have reached.
    pub rung: Option<usize>,
    /// Maximum number of epochs of the runs at that rung.
    pub epochs: Option<u64>,
    /// Mean of the metric over seeds at that rung.
    pub mean: Option<f64>,
    /// Sample standard deviation of the metric over several seeds.
    pub std: Option<f64>,
    /// Mean over seeds of every measurement at that rung.
    pub measured: BTreeMap<String, f64>,
    /// Results of each seed.
    pub runs: Vec<RunResult>,
    /// Error, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Results of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunResult {
    /// Seed of the run.
    pub seed: u64,
    /// Measurements at each rung reached.
    pub rungs: Vec<Measured>,
    /// Error, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Measurements of a run at a rung.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Epochs of training.
    pub epochs: u64,
    /// Scores, and the loss on held-out captions if there are any.
    pub values: BTreeMap<String, f64>,
}

/// Status of a run at a rung.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RunStatus {
    /// Finished, with these measurements.
    Measured(Measured),
    /// Failed with this error.
    Failed(String),
    /// Not finished yet.
    Pending,
}

impl Planner<'_> {
    /// Returns the status of a run at a rung.
    pub fn status(&self, planned: &Planned, goal: Goal) -> Result<RunStatus, Error> {
        let Some(stages) = planned.goals.get(&goal) else { return Ok(RunStatus::Pending) };
        for &index in stages {
            if let Some(error) = planned.plan.failure(index)? {
                return Ok(RunStatus::Failed(error));
            }
            if planned.plan.action(index)? != StageAction::Keep {
                return Ok(RunStatus::Pending);
            }
        }
        match self.measured(goal)? {
            Ok(measured) => Ok(RunStatus::Measured(measured)),
            Err(missing) => Ok(RunStatus::Failed(missing)),
        }
    }

    fn measured(&self, goal: Goal) -> Result<Result<Measured, String>, Error> {
        let run = self.run_folder(goal.trial, goal.seed);
        let last = self.sweep.rungs[goal.rung].unwrap_or(u64::MAX);
        let mut epochs: Vec<EpochRecord> = metrics::records(&run.join("epochs.csv"))?;
        epochs.retain(|record| record.epoch <= last);
        let mut values = BTreeMap::new();
        if self.sweep.is_by_score() {
            let folder = self.scored(goal);
            let corpus = ScoresFile::read(&folder)?.corpus;
            values.extend(corpus.into_iter().filter_map(|(name, score)| Some((name, score?))));
        }
        if let Some(loss) = validation_loss(&self.configs[goal.trial], &epochs) {
            values.insert(VALIDATION_LOSS.to_owned(), loss);
        }
        let epochs = epochs.last().map_or(0, |record| record.epoch);
        let metric = &self.sweep.metric;
        if values.get(metric).is_some_and(|value| value.is_finite()) {
            return Ok(Ok(Measured { epochs, values }));
        }
        let hint = if metric == "METEOR" {
            "; download its resources with capsmith fetch meteor"
        } else {
            ""
        };
        Ok(Err(format!("{metric} was not measured{hint}")))
    }

    /// Returns the results of all trials, best first; `rung_trials` are the trials of each rung.
    pub fn results(&self, planned: &Planned, rung_trials: &[Vec<usize>]) -> Result<Results, Error> {
        let sweep = self.sweep;
        let trials = sweep.trials.iter().map(|trial| self.trial_result(planned, trial.number));
        let mut trials = trials.collect::<Result<Vec<_>, _>>()?;
        let reached = |rung: usize, trial: &TrialResult| {
            trial.error.is_some() || trial.rung.is_some_and(|reached| reached >= rung)
        };
        let is_done = |(rung, rung_trials): (usize, &Vec<usize>)| {
            rung_trials.iter().all(|&number| reached(rung, &trials[number]))
        };
        let complete =
            rung_trials.len() == sweep.rungs.len() && rung_trials.iter().enumerate().all(is_done);
        trials.sort_by(|a, b| order(sweep.direction, a, b));
        let planned_stages = planned.plan.stages().len();
        let actions = (0..planned_stages).map(|index| planned.plan.action(index));
        let actions = actions.collect::<Result<Vec<_>, _>>()?;
        let finished_stages = actions.iter().filter(|&&action| action == StageAction::Keep).count();
        let records = (0..planned_stages).map(|index| planned.plan.record(index));
        let records = records.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
        let seconds = records.map(|record| record.seconds).sum();
        let space = sweep.space.axes.iter().map(|axis| (axis.key.clone(), axis.domain.to_json()));
        Ok(Results {
            name: sweep.name.clone(),
            search: sweep.search,
            metric: sweep.metric.clone(),
            direction: sweep.direction,
            split: sweep.split,
            choice: sweep.choice.clone(),
            seeds: sweep.seeds.clone(),
            complete,
            finished_stages,
            planned_stages,
            seconds,
            space: space.collect(),
            trials,
        })
    }

    fn trial_result(&self, planned: &Planned, trial: usize) -> Result<TrialResult, Error> {
        let runs = self.sweep.seeds.iter().map(|&seed| self.run_result(planned, trial, seed));
        let runs = runs.collect::<Result<Vec<RunResult>, _>>()?;
        let error = runs.iter().find_map(|run| run.error.clone());
        let reached = runs.iter().map(|run| run.rungs.len()).min().unwrap_or(0).checked_sub(1);
        let there: Vec<&Measured> = runs.iter().filter_map(|run| run.rungs.get(reached?)).collect();
        let measured = means(&there);
        let values: Vec<f64> =
            there.iter().filter_map(|one| one.values.get(&self.sweep.metric).copied()).collect();
        Ok(TrialResult {
            trial,
            settings: json(&self.sweep.trials[trial].settings),
            folder: format!("trials/{trial:03}"),
            rung: reached,
            epochs: there.iter().map(|one| one.epochs).max(),
            mean: measured.get(&self.sweep.metric).copied(),
            std: statistics::deviation(&values),
            measured,
            runs,
            error,
        })
    }

    fn run_result(&self, planned: &Planned, trial: usize, seed: u64) -> Result<RunResult, Error> {
        let mut run = RunResult { seed, rungs: Vec::new(), error: None };
        for rung in 0..self.sweep.rungs.len() {
            match self.status(planned, Goal { trial, seed, rung })? {
                RunStatus::Measured(measured) => run.rungs.push(measured),
                RunStatus::Failed(error) => run.error = Some(error),
                RunStatus::Pending => {}
            }
            if run.rungs.len() <= rung {
                break;
            }
        }
        Ok(run)
    }
}

/// Returns the held-out loss of the checkpoint that `evaluate` uses: the best epoch's if the run
/// stops early, else the last epoch's.
fn validation_loss(config: &Config, epochs: &[EpochRecord]) -> Option<f64> {
    let mut losses = epochs.iter().filter_map(|record| record.validation_loss);
    if config.trains_past_best_epoch() { losses.reduce(f64::min) } else { losses.next_back() }
}

fn order(direction: Direction, a: &TrialResult, b: &TrialResult) -> std::cmp::Ordering {
    let by_metric = match (a.mean, b.mean) {
        (Some(a), Some(b)) => direction.order(a, b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    };
    let failed = a.error.is_some().cmp(&b.error.is_some());
    failed.then(b.rung.cmp(&a.rung)).then(by_metric).then(a.trial.cmp(&b.trial))
}

fn means(measured: &[&Measured]) -> BTreeMap<String, f64> {
    let mut all: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (name, value) in measured.iter().flat_map(|one| &one.values) {
        all.entry(name.clone()).or_default().push(*value);
    }
    let whole = all.into_iter().filter(|(_, values)| values.len() == measured.len());
    whole.filter_map(|(name, values)| Some((name, statistics::mean(&values)?))).collect()
}

fn json(settings: &Settings) -> BTreeMap<String, serde_json::Value> {
    let value = |value| serde_json::to_value(value).unwrap_or_default();
    settings.iter().map(|(key, setting)| (key.clone(), value(setting))).collect()
}

impl super::Domain {
    /// Returns the domain as the sweep file writes it.
    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::List(values) => serde_json::to_value(values).unwrap_or_default(),
            Self::Uniform(low, high) => serde_json::json!({ "uniform": [low, high] }),
            Self::LogUniform(low, high) => serde_json::json!({ "log-uniform": [low, high] }),
            Self::Integer(low, high) => serde_json::json!({ "integer": [low, high] }),
        }
    }
}

impl Results {
    /// Returns the names of the measurements besides the metric, in the order of their appearance.
    pub(super) fn other_metrics(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.trials.iter().flat_map(|trial| trial.measured.keys()) {
            if *name != self.metric && !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// Returns the failed trials.
    pub fn failed(&self) -> impl Iterator<Item = &TrialResult> {
        self.trials.iter().filter(|trial| trial.error.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(trial: usize, rung: Option<usize>, mean: Option<f64>, failed: bool) -> TrialResult {
        TrialResult {
            trial,
            settings: BTreeMap::new(),
            folder: String::new(),
            rung,
            epochs: None,
            mean,
            std: None,
            measured: BTreeMap::new(),
            runs: Vec::new(),
            error: failed.then(|| "why".to_owned()),
        }
    }

    #[test]
    fn the_furthest_and_best_come_first_and_failures_last() {
        let mut trials = [
            trial(0, Some(0), Some(9.0), false),
            trial(1, Some(2), Some(1.0), false),
            trial(2, Some(2), Some(5.0), true),
            trial(3, None, None, false),
            trial(4, Some(2), Some(2.0), false),
        ];
        let mut ordered = |direction| {
            trials.sort_by(|a, b| order(direction, a, b));
            trials.iter().map(|trial| trial.trial).collect::<Vec<_>>()
        };
        assert_eq!(ordered(Direction::Maximize), [4, 1, 0, 3, 2]);
        assert_eq!(ordered(Direction::Minimize), [1, 4, 0, 3, 2]);
    }

    #[test]
    fn seeds_are_averaged_and_their_spread_is_a_samples() {
        assert_eq!(statistics::deviation(&[1.0]), None);
        assert!((statistics::deviation(&[1.0, 3.0, 5.0]).unwrap() - 2.0).abs() < 1e-12);
        let one = |value, other: Option<f64>| Measured {
            epochs: 1,
            values: [("a", Some(value)), ("b", other)]
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                .collect(),
        };
        let all = means(&[&one(1.0, Some(2.0)), &one(4.0, None)]);
        // A value that one seed lacks has no mean.
        assert_eq!(all, BTreeMap::from([("a".to_owned(), 2.5)]));
    }
}
