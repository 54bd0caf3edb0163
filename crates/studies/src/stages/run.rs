//! Runs a plan: several stages at a time, each as soon as the stages before it are finished.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use durable::digests::Digests;

use super::check;
use super::{Damage, Error, Plan, Record, Resume, STOP_WITH_STDIN, StageAction, State, io_error};

/// Interval of polling a running stage.
const LOOK: Duration = Duration::from_millis(50);
/// Time for a stage to stop: it may be writing a checkpoint.
const GRACE: Duration = Duration::from_mins(2);

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
    /// It was finished before.
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
    /// A finished stage is run again because its outputs are not those that it made.
    fn damaged(&self, plan: &Plan, at: usize, damage: &Damage);
    /// A stage starts.
    fn started(&self, plan: &Plan, at: usize, action: StageAction);
    /// The last line of a running stage's log.
    fn said(&self, plan: &Plan, at: usize, line: &str);
    /// A stage ended.
    fn ended(&self, plan: &Plan, at: usize, outcome: &Outcome);
}

/// Runs the stages of a plan that are not finished, and returns the outcome of each stage.
///
/// Setting `stop` stops running stages and starts no more.
///
/// # Errors
/// Fails if a record or log cannot be read or written; running stages are stopped then. A stage that
/// fails is no error: its [`Outcome`] says so.
pub fn run(
    plan: &Plan,
    runner: &Runner,
    observer: &dyn Observer,
    stop: &AtomicBool,
) -> Result<Vec<Outcome>, Error> {
    for folder in ["stages", "logs"] {
        durable::create_dir_all(&plan.folder.join(folder))?;
    }
    let state = Walk {
        outcomes: Mutex::new(vec![StageState::Waiting; plan.stages.len()]),
        news: Condvar::new(),
    };
    let failure = Mutex::new(None);
    let halted = AtomicBool::new(false);
    thread::scope(|scope| {
        let (state, failure, halted) = (&state, &failure, &halted);
        for slot in 0..runner.slots.clamp(1, plan.stages.len().max(1)) {
            scope.spawn(move || {
                while let Some(at) = state.next(plan, observer) {
                    let stops = || stop.load(Ordering::Relaxed) || halted.load(Ordering::Relaxed);
                    let outcome = match run_stage(plan, at, (runner, slot), observer, &stops) {
                        Ok(outcome) => outcome,
                        Err(error) => {
                            halted.store(true, Ordering::Relaxed);
                            lock(failure).get_or_insert(error);
                            Outcome::Stopped
                        }
                    };
                    observer.ended(plan, at, &outcome);
                    state.end(at, outcome);
                }
            });
        }
    });
    if let Some(error) = lock(&failure).take() {
        return Err(error);
    }
    let places = std::mem::take(&mut *lock(&state.outcomes));
    Ok(places
        .into_iter()
        .map(|place| match place {
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

struct Walk {
    outcomes: Mutex<Vec<StageState>>,
    news: Condvar,
}

/// A panic elsewhere harms nothing that a mutex here holds.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Walk {
    /// Waits for a stage that can be run and returns it; `None` if there will be none.
    fn next(&self, plan: &Plan, observer: &dyn Observer) -> Option<usize> {
        let mut places = lock(&self.outcomes);
        loop {
            let mut waiting = false;
            for at in 0..places.len() {
                if places[at] != StageState::Waiting {
                    continue;
                }
                match ready(plan, &places, at) {
                    Ready::Yes => {
                        places[at] = StageState::Running;
                        return Some(at);
                    }
                    Ready::Never(outcome) => {
                        observer.ended(plan, at, &outcome);
                        places[at] = StageState::Ended(outcome);
                    }
                    Ready::NotYet => waiting = true,
                }
            }
            if !waiting {
                self.news.notify_all();
                return None;
            }
            places = self.news.wait(places).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self, at: usize, outcome: Outcome) {
        lock(&self.outcomes)[at] = StageState::Ended(outcome);
        self.news.notify_all();
    }
}

enum Ready {
    Yes,
    NotYet,
    Never(Outcome),
}

fn ready(plan: &Plan, places: &[StageState], at: usize) -> Ready {
    let mut ready = Ready::Yes;
    for &before in &plan.stages[at].after {
        match &places[before] {
            StageState::Ended(Outcome::Kept | Outcome::Finished { .. }) => {}
            StageState::Ended(Outcome::Stopped) => return Ready::Never(Outcome::Stopped),
            StageState::Ended(Outcome::Failed { .. } | Outcome::Skipped) => {
                if !plan.stages[before].optional {
                    return Ready::Never(Outcome::Skipped);
                }
            }
            StageState::Waiting | StageState::Running => ready = Ready::NotYet,
        }
    }
    ready
}

/// Renames what is damaged to the first free one of `NAME.damaged`, `NAME.damaged-2` and so on: a
/// run of many hours is not removed for one changed byte.
fn set_aside(output: &Path) -> Result<(), Error> {
    if fs::symlink_metadata(output).is_err() {
        return Ok(());
    }
    let named = |ending: &str| {
        let mut name = output.file_name().unwrap_or_default().to_owned();
        name.push(ending);
        output.with_file_name(name)
    };
    let later = (2..).map(|number| named(&format!(".damaged-{number}")));
    let mut names = std::iter::once(named(".damaged")).chain(later);
    let free = names.find(|name| fs::symlink_metadata(name).is_err());
    Ok(free.map_or(Ok(()), |free| durable::replace(output, &free))?)
}

fn run_stage(
    plan: &Plan,
    at: usize,
    (runner, slot): (&Runner, usize),
    observer: &dyn Observer,
    stops: &dyn Fn() -> bool,
) -> Result<Outcome, Error> {
    let log_file = plan.log_file(at);
    let Some(mut log) = lock_log(&log_file, stops)? else { return Ok(Outcome::Stopped) };
    // Looked at behind the lock: another study may just have finished it.
    let action = plan.action(at)?;
    if action == StageAction::Keep {
        if let Some(record) = plan.record(at)?.filter(Record::is_old) {
            // From now on changes of its inputs are noticed.
            Record { key: plan.keys[at].clone(), ..record }.write(&plan.record_file(at))?;
        }
        return Ok(Outcome::Kept);
    }
    let stage = &plan.stages[at];
    if let Some(damage) = plan.damage(at)? {
        observer.damaged(plan, at, &damage);
    }
    let resumes = action == StageAction::Resume;
    if action == StageAction::Restore {
        stage.outputs.iter().try_for_each(|output| set_aside(output))?;
    } else if action == StageAction::Redo || (resumes && stage.resume == Resume::Anew) {
        stage.outputs.iter().try_for_each(|output| durable::remove(output))?;
    }
    let before = plan.record(at)?.filter(|_| resumes);
    let mut arguments = stage.arguments.clone();
    arguments.extend(stage.resume.argument().filter(|_| resumes).map(str::to_owned));
    // Before the record is written: until then it tells what has changed.
    observer.started(plan, at, action);
    let mut record = Record {
        key: plan.keys[at].clone(),
        state: State::Started,
        command: format!("capsmith {}", arguments.join(" ")),
        seconds: before.map_or(0.0, |before| before.seconds),
        error: None,
        files: Digests::new(),
    };
    record.write(&plan.record_file(at))?;
    let begin = log.seek(SeekFrom::End(0)).map_err(io_error("read", &log_file))?;
    writeln!(log, "$ {}", record.command).map_err(io_error("write", &log_file))?;

    let started = Instant::now();
    let child =
        start(runner, slot, &arguments, &log).map_err(io_error("start", &runner.program))?;
    let ended = watch(child, stops, || {
        if let Some(line) = last_line(&log_file, begin) {
            observer.said(plan, at, &line);
        }
    });
    record.seconds += started.elapsed().as_secs_f64();
    let outcome = match ended.map_err(io_error("wait for", &runner.program))? {
        Ended::Well => {
            record.state = State::Finished;
            record.files = check::digests(stage)?;
            Outcome::Finished { seconds: record.seconds }
        }
        Ended::Stopped => Outcome::Stopped,
        Ended::Badly(how) => {
            record.state = State::Failed;
            let error = complaint(&log_file, begin).unwrap_or(how);
            record.error = Some(error.clone());
            Outcome::Failed { error }
        }
    };
    record.write(&plan.record_file(at))?;
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
            Err(TryLockError::WouldBlock) => thread::sleep(LOOK),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", path)(error)),
        }
    }
    Ok(None)
}

fn start(runner: &Runner, slot: usize, arguments: &[String], log: &File) -> io::Result<Child> {
    let mut command = Command::new(&runner.program);
    command.args(arguments).env(STOP_WITH_STDIN, "1").stdin(Stdio::piped());
    command.stdout(log.try_clone()?).stderr(log.try_clone()?);
    // A stage is one process, wherever a launcher put the study.
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

enum Ended {
    Well,
    Stopped,
    Badly(String),
}

/// Waits for a process. If the study stops, ends its standard input and gives it time to save.
fn watch(mut child: Child, stops: &dyn Fn() -> bool, mut look: impl FnMut()) -> io::Result<Ended> {
    let mut stopped: Option<Instant> = None;
    let mut looks = 0_u32;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(match status.success() {
                _ if stopped.is_some() => Ended::Stopped,
                true => Ended::Well,
                // As a shell says it of Ctrl-C and SIGTERM, which reach the whole group.
                false if matches!(status.code(), Some(130 | 143)) => Ended::Stopped,
                false => Ended::Badly(format!("it ended with {status}")),
            });
        }
        match stopped {
            None if stops() => {
                drop(child.stdin.take());
                stopped = Some(Instant::now());
            }
            Some(since) if since.elapsed() > GRACE => child.kill()?,
            _ => {}
        }
        if looks.is_multiple_of(10) {
            look();
        }
        looks += 1;
        thread::sleep(LOOK);
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

/// Returns the error that a command ended with, or its last line.
fn complaint(path: &Path, begin: u64) -> Option<String> {
    let tail = tail(path, begin)?;
    let from = tail.rfind("error: ").map(|at| at + "error: ".len());
    let text = match from {
        Some(from) => tail[from..].trim(),
        None => tail.trim().rsplit('\n').next().unwrap_or_default(),
    };
    (!text.is_empty() && !text.starts_with("$ ")).then(|| text.to_owned())
}
