//! Runs a sweep rung by rung, in one process or in several on shared storage.
//!
//! One of several tasks runs its share of the first rung. On higher rungs every task runs any
//! surviving trial, its own share first. Stages are locked while they run, so none runs twice. A
//! task waits only for running tasks, never for tasks that have not started.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use foreign_text::printable;
use progress::{Progress, Unit};
use recipes::Config;
use runs::RunFolder;

use super::definition::{Search, Sweep};
use super::plan::{Goal, Planned, Planner};
use super::reporter::{SharedProgress, StageReporter, lock};
use super::results::{Results, RunStatus, TrialResult};
use super::{Error, files, halving};
use crate::stages::{self, Outcome, Runner};

/// Interval of polling another process's lock.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// One of several processes that run a sweep together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Index of the task, from 0.
    pub index: usize,
    /// Number of tasks.
    pub count: usize,
}

impl FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').map(|(index, count)| (index.parse(), count.parse()));
        match parts {
            Some((Ok(index), Ok(count))) if index < count => Ok(Self { index, count }),
            _ => {
                Err("a task is I/N with I from 0 to N-1, such as 0/4 for the first of four".into())
            }
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// Options of running a sweep.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the sweep.
    pub out: PathBuf,
    /// Resumes the sweep in the folder.
    pub resume: bool,
    /// Runs all trials of the sweep in the folder again.
    pub rerun: bool,
    /// Number of runs in parallel.
    pub jobs: usize,
    /// Devices to spread runs over, all of one kind: `cpu`, `cuda` or `cuda:N`; empty for those of
    /// the configs.
    pub devices: Vec<String>,
    /// Share of this process, if several processes run the sweep.
    pub task: Option<Task>,
    /// Path of the `capsmith` program.
    pub program: PathBuf,
}

/// Outcome of running a sweep.
#[derive(Debug, Clone)]
pub struct SweepOutcome {
    /// Results so far, including those of other tasks.
    pub results: Results,
    /// Number of unfinished trials, which other tasks have to run.
    pub left_to_others: usize,
}

/// Runs the unfinished trials of a sweep, and writes its results.
///
/// # Errors
/// Fails if a file cannot be read or written; finished stages are kept. A failed trial is no error:
/// the results record it.
pub fn run(
    sweep: &Sweep,
    options: &Options,
    progress: &mut (dyn Progress + Send),
    stop: &AtomicBool,
) -> Result<SweepOutcome, Error> {
    let progress: SharedProgress = Mutex::new(&mut *progress);
    let started = options.out.join(files::FILE).exists();
    if started && !options.resume && !options.rerun && options.task.is_none() {
        return Err(Error::Started(options.out.clone()));
    }
    if !started && options.task.is_none() {
        refuse_other_files(&options.out)?;
    }
    durable::create_dir_all(&options.out)?;
    let out = options
        .out
        .canonicalize()
        .map_err(|source| Error::Read { path: options.out.clone(), source })?;
    let mut planner = Planner { sweep, out: &out, configs: Vec::new(), contents: BTreeMap::new() };
    {
        let Some(_lock) = wait_for(&out.join("lock"), stop)? else {
            return SweepRun { planner, options, progress: &progress, stop }.finish(&[]);
        };
        planner.configs = configs(&planner, options)?;
        for trial in &sweep.trials {
            let invalid = |reason| Error::Invalid { path: options.out.clone(), reason };
            planner.check_inputs(trial).map_err(invalid)?;
        }
        write_configs(&planner)?;
        if options.rerun {
            planner.plan_of_all()?.plan.outdate()?;
        }
    }
    SweepRun { planner, options, progress: &progress, stop }.run()
}

/// Returns the config of each trial, with its device and threads.
fn configs(planner: &Planner, options: &Options) -> Result<Vec<Config>, Error> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let trials = planner.sweep.trials.iter().map(|trial| {
        let mut config = trial.config.clone();
        if let Some(device) = options.devices.first() {
            // The slot selects the GPU: a run may resume on another one.
            device.split(':').next().unwrap_or(device).clone_into(&mut config.training.device);
        }
        if config.training.threads == 0 {
            // The number of threads affects the last bits of results: a trial keeps its first one.
            config.training.threads = previous_threads(planner, trial.number)
                .unwrap_or_else(|| (cores / options.jobs).max(1));
        }
        Ok(config)
    });
    trials.collect()
}

/// Returns the threads that a trial was started with: from the provenance of its runs, or from its
/// config file if no run has started.
fn previous_threads(planner: &Planner, trial: usize) -> Option<usize> {
    let runs = planner.sweep.seeds.iter().map(|&seed| planner.run_folder(trial, seed));
    let mut started = runs.filter_map(|run| RunFolder::new(&run).provenance().ok());
    let from_run = started.next().map(|provenance| provenance.threads);
    let from_file = || Config::load(&planner.config_file(trial), &[]).ok();
    from_run.or_else(|| from_file().map(|config| config.training.threads))
}

fn write_configs(planner: &Planner) -> Result<(), Error> {
    for (number, config) in planner.configs.iter().enumerate() {
        durable::create_dir_all(&planner.trial_folder(number))?;
        durable::write_if_other(&planner.config_file(number), config.to_toml().as_bytes())?;
    }
    Ok(())
}

/// Waits for a lock; `None` if stopped before.
fn wait_for(path: &Path, stop: &AtomicBool) -> Result<Option<durable::Lock>, Error> {
    while !stop.load(Ordering::Relaxed) {
        match durable::lock(path) {
            Ok(lock) => return Ok(Some(lock)),
            Err(durable::Error::Locked(_)) => thread::sleep(POLL_INTERVAL),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Fails if the folder of a new sweep has files that no interrupted start of one leaves.
fn refuse_other_files(out: &Path) -> Result<(), Error> {
    const LEFT_BY_A_START: [&str; 9] = [
        "lock",
        "tasks",
        "tokenizers",
        "stages",
        "logs",
        "inputs",
        "trials",
        "tensorboard",
        files::FILE,
    ];
    let Some(first) = durable::first_foreign_entry(out, &LEFT_BY_A_START) else { return Ok(()) };
    Err(Error::Invalid {
        path: out.to_owned(),
        reason: format!(
            "the folder has files that are not of a sweep, such as {}; choose an empty or new folder with --out",
            printable(&first)
        ),
    })
}

/// Numbers and metrics of trials; `None` for failed trials.
type Values = Vec<(usize, Option<f64>)>;

/// Mean of a trial's metric over its seeds.
enum Mean {
    /// Not all seeds are measured yet.
    Pending,
    /// A seed failed.
    Failed,
    /// All seeds are measured.
    Value(f64),
}

/// A sweep in progress.
struct SweepRun<'a> {
    planner: Planner<'a>,
    options: &'a Options,
    progress: &'a SharedProgress<'a>,
    stop: &'a AtomicBool,
}

impl SweepRun<'_> {
    fn run(mut self) -> Result<SweepOutcome, Error> {
        let sweep = self.planner.sweep;
        let mut rung_trials =
            vec![sweep.trials.iter().map(|trial| trial.number).collect::<Vec<_>>()];
        // Early results mark the folder as a sweep's, and can be viewed while it runs.
        self.finish(&rung_trials)?;
        for rung in 0..sweep.rungs.len() {
            self.run_rung(&rung_trials)?;
            let Search::SuccessiveHalving { eta, .. } = sweep.search else { break };
            if rung + 1 == sweep.rungs.len() {
                break;
            }
            let Some(values) = self.values(&rung_trials[rung], rung)? else { break };
            let next = halving::survivors(&values, eta, sweep.direction);
            let epochs = sweep.rungs[rung].unwrap_or_default();
            lock(self.progress).note(&format!(
                "after {epochs} epochs, {} of {} trials continue: {next:?}",
                next.len(),
                values.len()
            ));
            rung_trials.push(next);
        }
        self.finish(&rung_trials)
    }

    /// Returns the runs of trials at a rung: on the first rung this task's share, on higher rungs
    /// all runs with this task's share first.
    fn goals(&self, trials: &[usize], rung: usize) -> Vec<Goal> {
        let runs = self.planner.goals(trials.iter().copied(), rung);
        let Some(task) = self.options.task else { return runs };
        let (own, others): (Vec<_>, Vec<_>) =
            runs.iter().enumerate().partition(|(index, _)| index % task.count == task.index);
        let kept = if rung == 0 { own } else { [own, others].concat() };
        kept.into_iter().map(|(_, goal)| *goal).collect()
    }

    /// Runs the unfinished stages of the last of these rungs.
    fn run_rung(&mut self, rung_trials: &[Vec<usize>]) -> Result<(), Error> {
        let rung = rung_trials.len() - 1;
        let planned = self.planner.plan(&self.goals(&rung_trials[rung], rung))?;
        let planned_so_far = self.planned_so_far(rung_trials)?;
        let _task_lock = match self.options.task {
            Some(task) => wait_for(&self.task_lock(task.index)?, self.stop)?,
            None => None,
        };
        let devices = &self.options.devices;
        let runner = Runner {
            program: self.options.program.clone(),
            slots: self.options.jobs,
            threads: self.planner.configs.first().map_or(0, |config| config.training.threads),
            visible_devices: devices.iter().filter_map(|device| visible(device)).collect(),
        };
        let reporter = StageReporter {
            planner: &self.planner,
            planned: &planned,
            planned_so_far: &planned_so_far,
            rung_trials,
            progress: self.progress,
            done: AtomicUsize::new(0),
            running: Mutex::default(),
        };
        let total = Some(planned.plan.stages().len() as u64);
        lock(self.progress).start(&self.planner.sweep.name, Unit::Count("stages"), total, 0);
        let outcomes = stages::run(&planned.plan, &runner, &reporter, self.stop)?;
        lock(self.progress).finish();
        // Trials cannot be compared without their shared inputs.
        for (index, outcome) in outcomes.iter().enumerate() {
            let is_shared = !planned.goals.values().any(|stages| stages.contains(&index));
            if let (true, Outcome::Failed { error }) = (is_shared, outcome) {
                return Err(Error::Invalid {
                    path: planned.plan.log_file(index),
                    reason: error.clone(),
                });
            }
        }
        Ok(())
    }

    /// Waits for the metrics of all trials at a rung, and returns them.
    ///
    /// Returns `None` if a trial is unfinished and no other task is running, or on a stop request.
    fn values(&mut self, trials: &[usize], rung: usize) -> Result<Option<Values>, Error> {
        let goals = self.planner.goals(trials.iter().copied(), rung);
        let planned = self.planner.plan(&goals)?;
        let mut has_waited = false;
        loop {
            // Read before the values: a task that ends in between has written all of its values.
            let others = self.other_tasks_running()?;
            let values = trials.iter().map(|&trial| {
                Ok(match self.mean(&planned, trial, rung)? {
                    Mean::Pending => None,
                    Mean::Failed => Some((trial, None)),
                    Mean::Value(value) => Some((trial, Some(value))),
                })
            });
            let values = values.collect::<Result<Option<Values>, Error>>()?;
            if values.is_some() || !others || self.stop.load(Ordering::Relaxed) {
                return Ok(values);
            }
            if !has_waited {
                lock(self.progress)
                    .note("waiting for the trials of other tasks, to compare them with these");
                has_waited = true;
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// Returns the mean of a trial's metric at a rung.
    fn mean(&self, planned: &Planned, trial: usize, rung: usize) -> Result<Mean, Error> {
        let sweep = self.planner.sweep;
        let mut sum = 0.0;
        let mut is_pending = false;
        for &seed in &sweep.seeds {
            match self.planner.status(planned, Goal { trial, seed, rung })? {
                RunStatus::Measured(measured) => {
                    sum += measured.values.get(&sweep.metric).copied().unwrap_or(f64::NAN);
                }
                RunStatus::Failed(_) => return Ok(Mean::Failed),
                RunStatus::Pending => is_pending = true,
            }
        }
        Ok(if is_pending { Mean::Pending } else { Mean::Value(sum / sweep.seeds.len() as f64) })
    }

    fn other_tasks_running(&self) -> Result<bool, Error> {
        let Some(task) = self.options.task else { return Ok(false) };
        for index in (0..task.count).filter(|&index| index != task.index) {
            match durable::lock(&self.task_lock(index)?) {
                Ok(_) => {}
                Err(durable::Error::Locked(_)) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    fn task_lock(&self, index: usize) -> Result<PathBuf, Error> {
        let folder = self.planner.out.join("tasks");
        durable::create_dir_all(&folder)?;
        Ok(folder.join(format!("{index}.lock")))
    }

    /// Writes the results of all tasks so far.
    fn finish(&mut self, rung_trials: &[Vec<usize>]) -> Result<SweepOutcome, Error> {
        let planned = self.planned_so_far(rung_trials)?;
        let results = self.planner.write_results(&planned, rung_trials)?;
        let is_left = |trial: &&TrialResult| trial.rung.is_none() && trial.error.is_none();
        let left_to_others = results.trials.iter().filter(is_left).count();
        Ok(SweepOutcome { results, left_to_others })
    }

    /// Returns the plan of all runs on these rungs.
    fn planned_so_far(&mut self, rung_trials: &[Vec<usize>]) -> Result<Planned, Error> {
        let all = rung_trials
            .iter()
            .enumerate()
            .flat_map(|(rung, trials)| self.planner.goals(trials.iter().copied(), rung));
        // The highest rung of each run includes those below it.
        let mut highest: BTreeMap<(usize, u64), Goal> = BTreeMap::new();
        highest.extend(all.map(|goal| ((goal.trial, goal.seed), goal)));
        self.planner.plan(&highest.into_values().collect::<Vec<_>>())
    }
}

/// Returns `CUDA_VISIBLE_DEVICES` for a device, an index among the GPUs visible to this process.
fn visible(device: &str) -> Option<String> {
    let index: usize = device.strip_prefix("cuda:")?.parse().ok()?;
    let here = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let of_those = here.as_ref().and_then(|all| all.split(',').nth(index));
    Some(of_those.map_or_else(|| index.to_string(), |one| one.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_numbered_from_zero() {
        assert_eq!("0/4".parse(), Ok(Task { index: 0, count: 4 }));
        for text in ["4/4", "1", "a/2", "-1/2", "0/0", "1/2/3", ""] {
            assert!(text.parse::<Task>().unwrap_err().contains("0/4"), "{text}");
        }
    }

    #[test]
    fn a_slot_sees_its_own_gpu() {
        assert_eq!(visible("cuda:3"), Some("3".to_owned()));
        assert_eq!([visible("cpu"), visible("cuda")], [None, None]);
    }
}
