//! Runs a plan: several stages in parallel, each as soon as the stages before it are finished.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use durable::digests::Digests;
use foreign_text::shell_command;

use super::check;
use super::{Damage, Error, Plan, Record, Resume, STOP_WITH_STDIN, StageAction, State, io_error};

/// Interval of polling a running stage.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Time for a stage to stop: it may be writing a checkpoint.
const STOP_TIMEOUT: Duration = Duration::from_mins(2);

/// Program and resources of the stages.
#[derive(Debug, Clone)]
pub struct Runner {
    /// The `capsmith` program.
    pub program: PathBuf,
    /// Number of stages at a time.
    pub slots: usize,
    /// CPU threads of a stage; 0 for all cores.
    pub threads: usize,
    /// `CUDA_VISIBLE_DEVICES` of the slots, in turn; empty to inherit it.
    pub visible_devices: Vec<String>,
}

/// Outcome of a stage.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was already finished and is reused.
    Kept,
    /// Its command succeeded.
    Finished {
        /// Seconds in all, including those before it was resumed.
        seconds: f64,
    },
    /// Its command failed.
    Failed {
        /// Last lines of its log.
        error: String,
    },
    /// A stage before it failed.
    Skipped,
    /// The study was stopped before or while it ran.
    Stopped,
}

/// Receives the events of a run, from several threads.
pub trait Observer: Sync {
    /// A finished stage runs again because its outputs have changed.
    fn damaged(&self, plan: &Plan, index: usize, damage: &Damage);
    /// A stage starts.
    fn started(&self, plan: &Plan, index: usize, action: StageAction);
    /// A running stage has a new last line in its log.
    fn output(&self, plan: &Plan, index: usize, line: &str);
    /// A stage ended.
    fn ended(&self, plan: &Plan, index: usize, outcome: &Outcome);
}

/// Runs the stages of a plan that are not finished, and returns the outcome of each stage.
///
/// Setting `stop` stops running stages and starts no more.
///
/// # Errors
/// Fails if a record or log cannot be read or written; running stages are stopped then. A stage
/// that fails is no error: its [`Outcome`] says so.
pub fn run(
    plan: &Plan,
    runner: &Runner,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Vec<Outcome>, Error> {
    for folder in ["stages", "logs", "inputs"] {
        durable::create_dir_all(&plan.folder.join(folder))?;
    }
    plan.save_inputs()?;
    let state = Scheduler {
        outcomes: Mutex::new(vec![StageState::Waiting; plan.stages.len()]),
        changed: Condvar::new(),
    };
    let failure = Mutex::new(None);
    let halted = AtomicBool::new(false);
    thread::scope(|scope| {
        let (state, failure, halted) = (&state, &failure, &halted);
        for slot in 0..runner.slots.clamp(1, plan.stages.len().max(1)) {
            scope.spawn(move || {
                while let Some(index) = state.next(plan, observer) {
                    let stops = || stop.load(Ordering::Relaxed) || halted.load(Ordering::Relaxed);
                    let outcome = match run_stage(plan, index, (runner, slot), observer, &stops) {
                        Ok(outcome) => outcome,
                        Err(error) => {
                            halted.store(true, Ordering::Relaxed);
                            lock(failure).get_or_insert(error);
                            Outcome::Stopped
                        }
                    };
                    observer.ended(plan, index, &outcome);
                    state.end(index, outcome);
                }
            });
        }
    });
    if let Some(error) = lock(&failure).take() {
        return Err(error);
    }
    let states = std::mem::take(&mut *lock(&state.outcomes));
    Ok(states
        .into_iter()
        .map(|state| match state {
            StageState::Ended(outcome) => outcome,
            StageState::Waiting | StageState::Running => Outcome::Stopped,
        })
        .collect())
}

/// State of a stage in this run.
#[derive(Debug, Clone, PartialEq)]
enum StageState {
    Waiting,
    Running,
    Ended(Outcome),
}

/// Shared state of the threads that run stages.
struct Scheduler {
    outcomes: Mutex<Vec<StageState>>,
    changed: Condvar,
}

/// Locks a mutex, even if poisoned: its data stays valid after a panic in another thread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scheduler {
    /// Waits for a stage that can be run and returns it; `None` if there will be none.
    fn next(&self, plan: &Plan, observer: &dyn Observer) -> Option<usize> {
        let mut states = lock(&self.outcomes);
        loop {
            let mut waiting = false;
            for index in 0..states.len() {
                if states[index] != StageState::Waiting {
                    continue;
                }
                match ready(plan, &states, index) {
                    Readiness::Ready => {
                        states[index] = StageState::Running;
                        return Some(index);
                    }
                    Readiness::Impossible(outcome) => {
                        observer.ended(plan, index, &outcome);
                        states[index] = StageState::Ended(outcome);
                    }
                    Readiness::Waiting => waiting = true,
                }
            }
            if !waiting {
                self.changed.notify_all();
                return None;
            }
            states = self.changed.wait(states).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self, index: usize, outcome: Outcome) {
        lock(&self.outcomes)[index] = StageState::Ended(outcome);
        self.changed.notify_all();
    }
}

/// Readiness of a waiting stage.
enum Readiness {
    Ready,
    Waiting,
    /// The stage cannot run, and has this outcome.
    Impossible(Outcome),
}

fn ready(plan: &Plan, states: &[StageState], index: usize) -> Readiness {
    let mut ready = Readiness::Ready;
    for &before in &plan.stages[index].after {
        match &states[before] {
            StageState::Ended(Outcome::Kept | Outcome::Finished { .. }) => {}
            StageState::Ended(Outcome::Stopped) => return Readiness::Impossible(Outcome::Stopped),
            StageState::Ended(Outcome::Failed { .. } | Outcome::Skipped) => {
                if !plan.stages[before].optional {
                    return Readiness::Impossible(Outcome::Skipped);
                }
            }
            StageState::Waiting | StageState::Running => ready = Readiness::Waiting,
        }
    }
    ready
}

/// Renames an output to the first free one of `NAME.ENDING`, `NAME.ENDING-2` and so on: a changed
/// byte or setting must not remove a run of many hours.
fn set_aside(output: &Path, ending: &str) -> Result<(), Error> {
    if fs::symlink_metadata(output).is_err() {
        return Ok(());
    }
    let named = |number: &str| output.with_added_extension(format!("{ending}{number}"));
    let later = (2..).map(|number| named(&format!("-{number}")));
    let mut names = std::iter::once(named("")).chain(later);
    let free = names.find(|name| fs::symlink_metadata(name).is_err());
    Ok(free.map_or(Ok(()), |free| durable::replace(output, &free))?)
}

fn run_stage(
    plan: &Plan,
    index: usize,
    (runner, slot): (&Runner, usize),
    observer: &dyn Observer,
    stops: &dyn Fn() -> bool,
) -> Result<Outcome, Error> {
    let log_file = plan.log_file(index);
    let Some(mut log) = lock_log(&log_file, stops)? else { return Ok(Outcome::Stopped) };
    // Read under the lock: another study may just have finished the stage.
    let action = plan.action(index)?;
    if action == StageAction::Keep {
        if let Some(record) = plan.record(index)?.filter(Record::is_old) {
            // From now on, changes of its inputs are detected.
            Record { key: plan.keys[index].clone(), ..record }.write(&plan.record_file(index))?;
        }
        return Ok(Outcome::Kept);
    }
    let stage = &plan.stages[index];
    if let Some(damage) = plan.damage(index)? {
        observer.damaged(plan, index, &damage);
    }
    let resumes = action == StageAction::Resume;
    // Before outputs are moved, and the record is overwritten, from which `changes` reads.
    observer.started(plan, index, action);
    let aside = |ending| stage.outputs.iter().try_for_each(|output| set_aside(output, ending));
    match action {
        StageAction::Restore => aside("damaged")?,
        StageAction::Redo => aside("previous")?,
        StageAction::Resume if stage.resume == Resume::Restart => {
            stage.outputs.iter().try_for_each(|output| durable::remove(output))?;
        }
        StageAction::Resume | StageAction::Run | StageAction::Keep => {}
    }
    let before = plan.record(index)?.filter(|_| resumes);
    let mut arguments = stage.arguments.clone();
    arguments.extend(stage.resume.argument().filter(|_| resumes).map(str::to_owned));
    let mut record = Record {
        key: plan.keys[index].clone(),
        state: State::Started,
        command: format!("capsmith {}", shell_command(&arguments)),
        seconds: before.map_or(0.0, |before| before.seconds),
        error: None,
        files: Digests::new(),
    };
    record.write(&plan.record_file(index))?;
    let begin = log.seek(SeekFrom::End(0)).map_err(io_error("read", &log_file))?;
    writeln!(log, "$ {}", record.command).map_err(io_error("write", &log_file))?;

    let started = Instant::now();
    let child =
        start(runner, slot, &arguments, &log).map_err(io_error("start", &runner.program))?;
    let exit = watch(child, stops, || {
        if let Some(line) = last_line(&log_file, begin) {
            observer.output(plan, index, &line);
        }
    });
    record.seconds += started.elapsed().as_secs_f64();
    let outcome = match exit.map_err(io_error("wait for", &runner.program))? {
        Exit::Success => {
            record.state = State::Finished;
            record.files = check::digests(plan, stage)?;
            Outcome::Finished { seconds: record.seconds }
        }
        Exit::Stopped => Outcome::Stopped,
        Exit::Failure(status) => {
            record.state = State::Failed;
            let error = error_text(&log_file, begin).unwrap_or(status);
            record.error = Some(error.clone());
            Outcome::Failed { error }
        }
    };
    record.write(&plan.record_file(index))?;
    Ok(outcome)
}

/// Opens and locks the log; `None` if the study is stopped while another process holds it.
fn lock_log(path: &Path, stops: &dyn Fn() -> bool) -> Result<Option<File>, Error> {
    let mut options = OpenOptions::new();
    let log = options.create(true).append(true).read(true).open(path);
    let log = log.map_err(io_error("open", path))?;
    while !stops() {
        match log.try_lock() {
            Ok(()) => return Ok(Some(log)),
            Err(TryLockError::WouldBlock) => thread::sleep(POLL_INTERVAL),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", path)(error)),
        }
    }
    Ok(None)
}

fn start(runner: &Runner, slot: usize, arguments: &[String], log: &File) -> io::Result<Child> {
    let mut command = Command::new(&runner.program);
    command.args(arguments).env(STOP_WITH_STDIN, "1").stdin(Stdio::piped());
    command.stdout(log.try_clone()?).stderr(log.try_clone()?);
    // A stage is a single process, even if a launcher started the study.
    for variable in launchers::VARIABLES {
        command.env_remove(variable);
    }
    if runner.threads > 0 {
        command.env("OMP_NUM_THREADS", runner.threads.to_string());
        command.env("RAYON_NUM_THREADS", runner.threads.to_string());
    }
    if let Some(visible) = runner.visible_devices.iter().cycle().nth(slot) {
        command.env("CUDA_VISIBLE_DEVICES", visible);
    }
    command.spawn()
}

/// Exit of a stage's process.
enum Exit {
    Success,
    Stopped,
    Failure(String),
}

/// Waits for a process. If the study stops, ends its standard input and gives it time to save.
fn watch(
    mut child: Child,
    stops: &dyn Fn() -> bool,
    mut on_poll: impl FnMut(),
) -> io::Result<Exit> {
    let mut stopped: Option<Instant> = None;
    let mut polls = 0_u32;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(match status.success() {
                _ if stopped.is_some() => Exit::Stopped,
                true => Exit::Success,
                // Exit codes of Ctrl-C and SIGTERM, which reach the whole process group.
                false if matches!(status.code(), Some(130 | 143)) => Exit::Stopped,
                false => Exit::Failure(format!("the command ended with {status}")),
            });
        }
        match stopped {
            None if stops() => {
                drop(child.stdin.take());
                stopped = Some(Instant::now());
            }
            Some(since) if since.elapsed() > STOP_TIMEOUT => child.kill()?,
            _ => {}
        }
        if polls.is_multiple_of(10) {
            on_poll();
        }
        polls += 1;
        thread::sleep(POLL_INTERVAL);
    }
}

/// Reads the log from `begin`, at most its last part.
fn tail(path: &Path, begin: u64) -> Option<String> {
    const MOST: u64 = 4096;
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(begin.max(length.saturating_sub(MOST)))).ok()?;
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn last_line(path: &Path, begin: u64) -> Option<String> {
    let tail = tail(path, begin)?;
    let line = tail.lines().rev().find(|line| !line.trim().is_empty())?;
    (!line.starts_with("$ ")).then(|| line.trim().to_owned())
}

/// Returns the error message of a failed command, or the last line of its log.
fn error_text(path: &Path, begin: u64) -> Option<String> {
    let tail = tail(path, begin)?;
    let from = tail.rfind("error: ").map(|start| start + "error: ".len());
    let text = match from {
        Some(from) => tail[from..].trim(),
        None => tail.trim().rsplit('\n').next().unwrap_or_default(),
    };
    (!text.is_empty() && !text.starts_with("$ ")).then(|| text.to_owned())
}
