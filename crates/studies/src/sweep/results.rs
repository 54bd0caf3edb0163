//! What came out of a sweep so far.

use std::collections::BTreeMap;

use recipes::Config;
use runs::ScoresFile;
use runs::metrics::{self, EpochRecord, ScoredSplit};
use serde::Serialize;

use super::Error;
use super::definition::{Search, VALIDATION_LOSS};
use super::halving::Direction;
use super::plan::{Goal, Planned, Planner, scored};
use super::space::Settings;
use crate::stages::StageAction;
use crate::statistics;

/// A sweep's results; `sweep.json` is this.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Results {
    /// The sweep's name.
    pub name: String,
    /// How trials were chosen.
    pub search: Search,
    /// What they are compared by.
    pub metric: String,
    /// Which value is the better one.
    pub direction: Direction,
    /// The pictures that were scored.
    pub split: ScoredSplit,
    /// Of several ways to choose captions, the one that counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<String>,
    /// Each trial's seeds.
    pub seeds: Vec<u64>,
    /// Whether nothing is left to run.
    pub complete: bool,
    /// What is varied, as the file has it.
    pub space: BTreeMap<String, serde_json::Value>,
    /// The best first: those that were trained longest, by their metric; then those without one.
    pub trials: Vec<TrialResult>,
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrialResult {
    /// From 0.
    pub trial: usize,
    /// What was varied.
    pub settings: BTreeMap<String, serde_json::Value>,
    /// Its folder in the sweep's.
    pub folder: String,
    /// The last rung, from 0, that all its seeds have reached.
    pub rung: Option<usize>,
    /// Epochs that its runs were trained there, the most of them.
    pub epochs: Option<u64>,
    /// Mean of the metric over seeds there.
    pub mean: Option<f64>,
    /// Standard deviation over seeds, where there are several.
    pub std: Option<f64>,
    /// Mean over seeds of everything that was measured there.
    pub measured: BTreeMap<String, f64>,
    /// What was measured of each seed, at each rung.
    pub runs: Vec<RunResult>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What came of one run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunResult {
    /// Its seed.
    pub seed: u64,
    /// At each rung that it has reached.
    pub rungs: Vec<Measured>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What was measured of a run at a rung.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Epochs that it was trained.
    pub epochs: u64,
    /// Scores, and the loss on held-out captions where there are any.
    pub values: BTreeMap<String, f64>,
}

/// Why a run stands where it does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Standing {
    /// It is measured.
    Measured(Measured),
    /// It failed.
    Failed(String),
    /// It is not done yet.
    Open,
}

impl Planner<'_> {
    /// How a run stands at a rung.
    pub fn standing(&self, planned: &Planned, goal: Goal) -> Result<Standing, Error> {
        let Some(stages) = planned.goals.get(&goal) else { return Ok(Standing::Open) };
        for &at in stages {
            if let Some(error) = planned.plan.failure(at)? {
                return Ok(Standing::Failed(error));
            }
            if planned.plan.action(at)? != StageAction::Keep {
                return Ok(Standing::Open);
            }
        }
        match self.measured(goal)? {
            Ok(measured) => Ok(Standing::Measured(measured)),
            Err(missing) => Ok(Standing::Failed(missing)),
        }
    }

    fn measured(&self, goal: Goal) -> Result<Result<Measured, String>, Error> {
        let run = self.run_folder(goal.trial, goal.seed);
        let last = self.sweep.rungs[goal.rung].unwrap_or(u64::MAX);
        let mut epochs: Vec<EpochRecord> = metrics::records(&run.join("epochs.csv"))?;
        epochs.retain(|record| record.epoch <= last);
        let mut values = BTreeMap::new();
        if self.sweep.is_by_score() {
            let folder = scored(&self.evaluation(goal), self.sweep.choice.as_deref());
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
        let hint =
            if metric == "METEOR" { "; capsmith fetch meteor makes it possible" } else { "" };
        Ok(Err(format!("{metric} was not measured{hint}")))
    }

    /// What came of all trials, those that went on furthest first; `going` are the trials of each rung.
    pub fn results(&self, planned: &Planned, going: &[Vec<usize>]) -> Result<Results, Error> {
        let sweep = self.sweep;
        let trials = sweep.trials.iter().map(|trial| self.trial_result(planned, trial.number));
        let mut trials = trials.collect::<Result<Vec<_>, _>>()?;
        let reached = |rung: usize, trial: &TrialResult| {
            trial.error.is_some() || trial.rung.is_some_and(|reached| reached >= rung)
        };
        let is_done = |(rung, going): (usize, &Vec<usize>)| {
            going.iter().all(|&number| reached(rung, &trials[number]))
        };
        let complete = going.len() == sweep.rungs.len() && going.iter().enumerate().all(is_done);
        trials.sort_by(|a, b| order(sweep.direction, a, b));
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
            match self.standing(planned, Goal { trial, seed, rung })? {
                Standing::Measured(measured) => run.rungs.push(measured),
                Standing::Failed(error) => run.error = Some(error),
                Standing::Open => {}
            }
            if run.rungs.len() <= rung {
                break;
            }
        }
        Ok(run)
    }
}

/// The loss of the checkpoint that `evaluate` takes: the best epoch's where held-out captions end
/// training, the last one's elsewhere.
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
    /// As the sweep's file has it.
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
    /// The trials that failed.
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
        // What one seed lacks has no mean.
        assert_eq!(all, BTreeMap::from([("a".to_owned(), 2.5)]));
    }
}
