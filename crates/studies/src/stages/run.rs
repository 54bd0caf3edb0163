//! Walking a plan: several stages at a time, each as soon as what it is after is finished.

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
use super::{Damage, Error, Plan, Record, Resume, STOP_WITH_STDIN, State, Todo, io_error};

/// How often a running stage is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long a stage may take to stop, for it may be writing a checkpoint.
const GRACE: Duration = Duration::from_mins(2);

/// With what stages are run.
#[derive(Debug, Clone)]
pub struct Runner {
    /// The `capsmith` program.
    pub program: PathBuf,
    /// Stages at a time.
    pub slots: usize,
    /// CPU threads of a stage; 0 for all cores.
    pub threads: usize,
    /// `CUDA_VISIBLE_DEVICES` of the slots, in turn; empty to leave it as it is.
    pub visible_devices: Vec<String>,
}

/// What became of a stage.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was finished before.
    Kept,
    /// It was run, for so many seconds in all.
    Finished {
        /// With what was run before a resumption.
        seconds: f64,
    },
    /// Its command failed, with what it said last.
    Failed {
        /// The last lines of its log.
        error: String,
    },
    /// What it is after failed.
    Skipped,
    /// The study was stopped before or while it ran.
    Stopped,
}

/// Told what happens, from several threads.
pub trait Observer: Sync {
    /// A finished stage is run again, since its outputs are not those that it made.
    fn damaged(&self, plan: &Plan, at: usize, damage: &Damage);
    /// A stage is about to be run.
    fn started(&self, plan: &Plan, at: usize, todo: Todo);
    /// A running stage has said this, its last line.
    fn said(&self, plan: &Plan, at: usize, line: &str);
    /// A stage has come to its end.
    fn ended(&self, plan: &Plan, at: usize, outcome: &Outcome);
}

/// Runs what is to be run of a plan, and says what became of each stage. Setting `stop` stops what runs,
/// and starts nothing more.
///
/// # Errors
/// When another study runs in the folder, or a record or log cannot be read or written; what runs is
/// stopped then. A stage that fails is no error: its [`Outcome`] says so.
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
        outcomes: Mutex::new(vec![ProcessRank::Waiting; plan.stages.len()]),
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
            ProcessRank::Ended(outcome) => outcome,
            ProcessRank::Waiting | ProcessRank::Running => Outcome::Stopped,
        })
        .collect())
}

/// Where a stage is.
#[derive(Debug, Clone, PartialEq)]
enum ProcessRank {
    Waiting,
    Running,
    Ended(Outcome),
}

struct Walk {
    outcomes: Mutex<Vec<ProcessRank>>,
    news: Condvar,
}

/// A panic elsewhere harms nothing that a mutex here holds.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Walk {
    /// The first stage that can be run now, waiting for one; none when there will be none.
    fn next(&self, plan: &Plan, observer: &dyn Observer) -> Option<usize> {
        let mut places = lock(&self.outcomes);
        loop {
            let mut waiting = false;
            for at in 0..places.len() {
                if places[at] != ProcessRank::Waiting {
                    continue;
                }
                match ready(plan, &places, at) {
                    Ready::Yes => {
                        places[at] = ProcessRank::Running;
                        return Some(at);
                    }
                    Ready::Never(outcome) => {
                        observer.ended(plan, at, &outcome);
                        places[at] = ProcessRank::Ended(outcome);
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
        lock(&self.outcomes)[at] = ProcessRank::Ended(outcome);
        self.news.notify_all();
    }
}

enum Ready {
    Yes,
    NotYet,
    Never(Outcome),
}

fn ready(plan: &Plan, places: &[ProcessRank], at: usize) -> Ready {
    let mut ready = Ready::Yes;
    for &before in &plan.stages[at].after {
        match &places[before] {
            ProcessRank::Ended(Outcome::Kept | Outcome::Finished { .. }) => {}
            ProcessRank::Ended(Outcome::Stopped) => return Ready::Never(Outcome::Stopped),
            ProcessRank::Ended(Outcome::Failed { .. } | Outcome::Skipped) => {
                if !plan.stages[before].optional {
                    return Ready::Never(Outcome::Skipped);
                }
            }
            ProcessRank::Waiting | ProcessRank::Running => ready = Ready::NotYet,
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
    let todo = plan.todo(at)?;
    if todo == Todo::Keep {
        return Ok(Outcome::Kept);
    }
    let stage = &plan.stages[at];
    if let Some(damage) = plan.damage(at)? {
        observer.damaged(plan, at, &damage);
    }
    if todo == Todo::Restore {
        stage.outputs.iter().try_for_each(|output| set_aside(output))?;
    } else if todo == Todo::Redo || (todo == Todo::Resume && stage.resume == Resume::Anew) {
        stage.outputs.iter().try_for_each(|output| durable::remove(output))?;
    }
    let before = plan.record(at)?.filter(|_| todo == Todo::Resume);
    let mut arguments = stage.arguments.clone();
    if let (Todo::Resume, Resume::With(argument)) = (todo, stage.resume) {
        arguments.push(argument.to_owned());
    }
    let mut record = Record {
        key: plan.keys[at].clone(),
        state: State::Started,
        command: format!("capsmith {}", arguments.join(" ")),
        seconds: before.map_or(0.0, |before| before.seconds),
        error: None,
        files: Digests::new(),
    };
    record.write(&plan.record_file(at))?;
    observer.started(plan, at, todo);
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

/// The log, locked; none where the study is stopped while another process has it.
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

/// Waits for a process, looking at it now and then; when the study stops, ends its standard input and
/// gives it time to save.
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

/// What a log holds from `begin` on, at most its last part.
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

/// The error that a command ended with, or the last that it said.
fn complaint(path: &Path, begin: u64) -> Option<String> {
    let tail = tail(path, begin)?;
    let from = tail.rfind("error: ").map(|at| at + "error: ".len());
    let text = match from {
        Some(from) => tail[from..].trim(),
        None => tail.trim().rsplit('\n').next().unwrap_or_default(),
    };
    (!text.is_empty() && !text.starts_with("$ ")).then(|| text.to_owned())
}
