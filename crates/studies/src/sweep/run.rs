//! Walking a sweep: rung by rung, by one process or by several on shared storage.
//!
//! A task of several runs its share of the first rung. Above it every task has a part in what goes on,
//! its own share first. Stages are locked while they run, so none is run twice; and a task waits only
//! for tasks that are at work, never for ones that have not been started.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use progress::{Progress, Unit};
use recipes::Config;
use runs::RunFolder;

use super::definition::{Search, Sweep, shown};
use super::plan::{Goal, Planned, Planner};
use super::results::{Results, Standing, TrialResult};
use super::{Error, files, halving};
use crate::stages::{self, Damage, Outcome, Plan, Runner, StageAction};

/// Interval of polling another process's lock.
const LOOK: Duration = Duration::from_millis(200);

/// One of several processes that carry a sweep together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// From 0.
    pub index: usize,
    /// Number of tensors.
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
    /// The sweep's folder.
    pub out: PathBuf,
    /// Resume the sweep that is there.
    pub resume: bool,
    /// Run everything again that the sweep in the folder has finished.
    pub rerun: bool,
    /// Runs at a time.
    pub jobs: usize,
    /// Devices that runs are spread over, all of one kind: `cpu`, `cuda` or `cuda:N`; none for what the
    /// configs say.
    pub devices: Vec<String>,
    /// CheckpointChoice part of the sweep this process has, where several carry it.
    pub task: Option<Task>,
    /// The `capsmith` program.
    pub program: PathBuf,
}

/// Result of running a sweep.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Results so far, those of other tasks included.
    pub results: Results,
    /// Number of trials that other tasks have still to run.
    pub left_to_others: usize,
}

/// Runs what is left of a sweep, and writes its results.
///
/// # Errors
/// Names the file; what is finished stays so. A trial that fails is no error: the results have it.
pub fn run(
    sweep: &Sweep,
    options: &Options,
    progress: &mut (dyn Progress + Send),
    stop: &AtomicBool,
) -> Result<Ended, Error> {
    let progress: Reports = Mutex::new(&mut *progress);
    let started = options.out.join(files::FILE).exists();
    if started && !options.resume && !options.rerun && options.task.is_none() {
        return Err(Error::Started(options.out.clone()));
    }
    durable::create_dir_all(&options.out)?;
    let out = options
        .out
        .canonicalize()
        .map_err(|source| Error::Read { path: options.out.clone(), source })?;
    let mut planner = Planner { sweep, out: &out, configs: Vec::new(), looked_at: BTreeMap::new() };
    {
        let Some(_lock) = wait_for(&out.join("lock"), stop)? else {
            return Walk { planner, options, progress: &progress, stop }.ended(&[]);
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
    Walk { planner, options, progress: &progress, stop }.run()
}

/// Of each trial, on the devices and threads it is trained with.
fn configs(planner: &Planner, options: &Options) -> Result<Vec<Config>, Error> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let trials = planner.sweep.trials.iter().map(|trial| {
        let mut config = trial.config.clone();
        if let Some(device) = options.devices.first() {
            // Which of several GPUs is a slot's matter: a run may go on with another one.
            device.split(':').next().unwrap_or(device).clone_into(&mut config.training.device);
        }
        if config.training.threads == 0 {
            // Another number gives other last bits: a trial keeps the one that it began with.
            config.training.threads = threads_before(planner, trial.number)
                .unwrap_or_else(|| (cores / options.jobs).max(1));
        }
        Ok(config)
    });
    trials.collect()
}

/// Returns the threads that a trial was started with: by its runs, whose records carry digests, or by its
/// config file where none has begun.
fn threads_before(planner: &Planner, trial: usize) -> Option<usize> {
    let runs = planner.sweep.seeds.iter().map(|&seed| planner.run_folder(trial, seed));
    let mut begun = runs.filter_map(|run| RunFolder::new(&run).provenance().ok());
    let of_run = begun.next().map(|provenance| provenance.threads);
    let of_file = || Config::load(&planner.config_file(trial), &[]).ok();
    of_run.or_else(|| of_file().map(|config| config.training.threads))
}

fn write_configs(planner: &Planner) -> Result<(), Error> {
    for (number, config) in planner.configs.iter().enumerate() {
        durable::create_dir_all(&planner.trial_folder(number))?;
        durable::write_if_other(&planner.config_file(number), config.to_toml().as_bytes())?;
    }
    Ok(())
}

/// The lock, once no other process has it; none when stopped before.
fn wait_for(path: &Path, stop: &AtomicBool) -> Result<Option<durable::Lock>, Error> {
    while !stop.load(Ordering::Relaxed) {
        match durable::lock(path) {
            Ok(lock) => return Ok(Some(lock)),
            Err(durable::Error::Locked(_)) => thread::sleep(LOOK),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Trials by number with their metric, none for those that failed.
type Values = Vec<(usize, Option<f64>)>;

/// A trial's metric, over its seeds.
enum Mean {
    /// Not all of them are measured yet.
    Open,
    /// One of them failed.
    Failed,
    /// Their mean.
    Of(f64),
}

/// Progress that several threads report.
type Reports<'a> = Mutex<&'a mut (dyn Progress + Send)>;

fn reports<'r, 'a>(progress: &'r Reports<'a>) -> MutexGuard<'r, &'a mut (dyn Progress + Send)> {
    progress.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Walk<'a> {
    planner: Planner<'a>,
    options: &'a Options,
    progress: &'a Reports<'a>,
    stop: &'a AtomicBool,
}

impl Walk<'_> {
    fn run(mut self) -> Result<Ended, Error> {
        let sweep = self.planner.sweep;
        let mut going = vec![sweep.trials.iter().map(|trial| trial.number).collect::<Vec<_>>()];
        // Results so far mark the folder as a sweep's, and can be looked at while it runs.
        self.ended(&going)?;
        for rung in 0..sweep.rungs.len() {
            let goals = self.goals(&going[rung], rung);
            self.walk(&goals)?;
            let Search::SuccessiveHalving { eta, .. } = sweep.search else { break };
            if rung + 1 == sweep.rungs.len() {
                break;
            }
            let Some(values) = self.values(&going[rung], rung)? else { break };
            let next = halving::survivors(&values, eta, sweep.direction);
            let epochs = sweep.rungs[rung].unwrap_or_default();
            reports(self.progress).note(&format!(
                "after {epochs} epochs {} of {} trials go on: {next:?}",
                next.len(),
                values.len()
            ));
            going.push(next);
        }
        self.ended(&going)
    }

    /// The runs of trials at a rung: of the first one this task's, of others this task's before all
    /// others.
    fn goals(&self, trials: &[usize], rung: usize) -> Vec<Goal> {
        let runs = trials.iter().flat_map(|&trial| {
            self.planner.sweep.seeds.iter().map(move |&seed| Goal { trial, seed, rung })
        });
        let runs: Vec<Goal> = runs.collect();
        let Some(task) = self.options.task else { return runs };
        let (own, others): (Vec<_>, Vec<_>) =
            runs.iter().enumerate().partition(|(at, _)| at % task.count == task.index);
        let kept = if rung == 0 { own } else { [own, others].concat() };
        kept.into_iter().map(|(_, goal)| *goal).collect()
    }

    /// Runs the stages of these goals that are not finished.
    fn walk(&mut self, goals: &[Goal]) -> Result<(), Error> {
        let planned = self.planner.plan(goals)?;
        let _at_work = match self.options.task {
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
        let watch = Watch {
            planner: &self.planner,
            planned: &planned,
            progress: self.progress,
            done: AtomicUsize::new(0),
            running: Mutex::default(),
        };
        let total = Some(planned.plan.stages().len() as u64);
        reports(self.progress).start(&self.planner.sweep.name, Unit::Count("stages"), total, 0);
        let outcomes = stages::run(&planned.plan, &runner, &watch, self.stop)?;
        reports(self.progress).finish();
        // Without what trials share there is nothing to compare.
        for (at, outcome) in outcomes.iter().enumerate() {
            let is_shared = !planned.goals.values().any(|stages| stages.contains(&at));
            if let (true, Outcome::Failed { error }) = (is_shared, outcome) {
                return Err(Error::Invalid {
                    path: planned.plan.log_file(at),
                    reason: error.clone(),
                });
            }
        }
        Ok(())
    }

    /// Each trial's metric at a rung, none for one that failed, once all are there. Other tasks that are
    /// at work are waited for; none when something is left that nobody works at.
    fn values(&mut self, trials: &[usize], rung: usize) -> Result<Option<Values>, Error> {
        let seeds = &self.planner.sweep.seeds;
        let goals = trials
            .iter()
            .flat_map(|&trial| seeds.iter().map(move |&seed| Goal { trial, seed, rung }));
        let planned = self.planner.plan(&goals.collect::<Vec<_>>())?;
        let mut has_waited = false;
        loop {
            // Looked at before the values: who ends in between has left all of them.
            let others = self.others_at_work()?;
            let values = trials.iter().map(|&trial| {
                Ok(match self.mean(&planned, trial, rung)? {
                    Mean::Open => None,
                    Mean::Failed => Some((trial, None)),
                    Mean::Of(value) => Some((trial, Some(value))),
                })
            });
            let values = values.collect::<Result<Option<Values>, Error>>()?;
            if values.is_some() || !others || self.stop.load(Ordering::Relaxed) {
                return Ok(values);
            }
            if !has_waited {
                reports(self.progress)
                    .note("waiting for other tasks, whose trials are compared with these");
                has_waited = true;
            }
            thread::sleep(LOOK);
        }
    }

    /// A trial's metric at a rung.
    fn mean(&self, planned: &Planned, trial: usize, rung: usize) -> Result<Mean, Error> {
        let sweep = self.planner.sweep;
        let mut sum = 0.0;
        let mut is_open = false;
        for &seed in &sweep.seeds {
            match self.planner.standing(planned, Goal { trial, seed, rung })? {
                Standing::Measured(measured) => {
                    sum += measured.values.get(&sweep.metric).copied().unwrap_or(f64::NAN);
                }
                Standing::Failed(_) => return Ok(Mean::Failed),
                Standing::Open => is_open = true,
            }
        }
        Ok(if is_open { Mean::Open } else { Mean::Of(sum / sweep.seeds.len() as f64) })
    }

    fn others_at_work(&self) -> Result<bool, Error> {
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
    fn ended(&mut self, going: &[Vec<usize>]) -> Result<Ended, Error> {
        let sweep = self.planner.sweep;
        let seeds = &sweep.seeds;
        let all = going.iter().enumerate().flat_map(|(rung, trials)| {
            trials
                .iter()
                .flat_map(move |&trial| seeds.iter().map(move |&seed| Goal { trial, seed, rung }))
        });
        // Of each run its highest rung, which has those below it.
        let mut highest: BTreeMap<(usize, u64), Goal> = BTreeMap::new();
        highest.extend(all.map(|goal| ((goal.trial, goal.seed), goal)));
        let planned = self.planner.plan(&highest.into_values().collect::<Vec<_>>())?;
        // Waiting is short: others hold this lock only while they write.
        let _lock = durable::wait_for_lock(&self.planner.out.join("lock"))?;
        let results = self.planner.results(&planned, going)?;
        results.write(sweep, self.planner.out)?;
        let is_left = |trial: &&TrialResult| trial.rung.is_none() && trial.error.is_none();
        let left_to_others = results.trials.iter().filter(is_left).count();
        Ok(Ended { results, left_to_others })
    }
}

/// What `CUDA_VISIBLE_DEVICES` is for a device, within those that are visible here.
fn visible(device: &str) -> Option<String> {
    let index: usize = device.strip_prefix("cuda:")?.parse().ok()?;
    let here = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let of_those = here.as_ref().and_then(|all| all.split(',').nth(index));
    Some(of_those.map_or_else(|| index.to_string(), |one| one.trim().to_owned()))
}

/// Says of stages what they mean to the sweep.
struct Watch<'a, 'p> {
    planner: &'a Planner<'a>,
    planned: &'a Planned,
    progress: &'a Reports<'p>,
    done: AtomicUsize,
    running: Mutex<BTreeMap<usize, String>>,
}

impl Watch<'_, '_> {
    fn show(&self, change: impl FnOnce(&mut BTreeMap<usize, String>)) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut running);
        let lines: Vec<String> = running.values().cloned().collect();
        let mut reports = reports(self.progress);
        reports.detail(&lines.join(" | "));
        reports.position(self.done.load(Ordering::Relaxed) as u64);
    }

    /// What there is to say of a run whose stage has ended.
    fn news(&self, at: usize, outcome: &Outcome) -> Option<String> {
        let (goal, stages) = self.planned.goals.iter().find(|(_, stages)| stages.contains(&at))?;
        let settings = shown(&self.planner.sweep.trials[goal.trial].settings);
        let name = format!("trial {}, seed {} ({settings})", goal.trial, goal.seed);
        match outcome {
            Outcome::Failed { error } => {
                let first = error.split(['\n', ';']).next().unwrap_or_default();
                Some(format!("{name} failed: {first}"))
            }
            Outcome::Finished { .. } if stages.last() == Some(&at) => {
                let standing = self.planner.standing(self.planned, *goal).ok()?;
                let Standing::Measured(measured) = standing else { return None };
                let metric = &self.planner.sweep.metric;
                let value = measured.values.get(metric)?;
                Some(format!("{name}: {metric} {value:.4} after {} epochs", measured.epochs))
            }
            _ => None,
        }
    }
}

impl stages::Observer for Watch<'_, '_> {
    fn damaged(&self, plan: &Plan, at: usize, damage: &Damage) {
        let name = &plan.stages()[at].name;
        reports(self.progress).note(&format!("{name} is run again: {}", damage.reason()));
    }

    fn started(&self, plan: &Plan, at: usize, _action: StageAction) {
        self.show(|running| {
            running.insert(at, plan.stages()[at].name.clone());
        });
    }

    fn said(&self, plan: &Plan, at: usize, line: &str) {
        self.show(|running| {
            running.insert(at, format!("{}: {line}", plan.stages()[at].name));
        });
    }

    fn ended(&self, _plan: &Plan, at: usize, outcome: &Outcome) {
        if let Some(news) = self.news(at, outcome) {
            reports(self.progress).note(&news);
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        self.show(|running| {
            running.remove(&at);
        });
    }
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
