//! Stages: `capsmith` commands that depend on each other, run as processes of their own.
//!
//! Each stage has a key: the SHA-256 of its arguments, of what it reads, of the code, and of the keys of the
//! stages before it. A finished stage whose key is the same is kept where its outputs are as it left them
//! ([`Check`]); one that was cut short resumes where its command can; one whose key has changed loses its
//! outputs and is run again, and with it just what depends on it.
//!
//! ```text
//! STUDY/
//!   stages/NAME.json   its key, whether it is finished, how long it took, why it failed, and digests
//!   logs/NAME.log      what it said; locked while it runs
//! ```
//!
//! A stage's process watches its standard input and stops when that ends ([`STOP_WITH_STDIN`]): so it ends
//! with the study, even when that is killed. Its log is its standard output and error, and the lock on the
//! log is theirs too: until the last process that writes to it is gone, no other study starts the stage.

mod check;
mod key;
mod record;
mod run;

use std::path::{Path, PathBuf};

use foreign_text::printable_path;

pub use check::{Check, Damage};
pub use key::{Input, code_version};
pub use record::{Record, State};
pub use run::{Observer, Outcome, Runner, run};

/// Set for the process of a stage: stop as for Ctrl-C when standard input ends, and say often how far it is.
pub const STOP_WITH_STDIN: &str = "CAPSMITH_STOP_WITH_STDIN";

/// One command.
#[derive(Debug, Clone)]
pub struct Stage {
    /// What it is called, with `/` between parts.
    pub name: String,
    /// What stands behind `capsmith`.
    pub arguments: Vec<String>,
    /// What is done when it was cut short.
    pub resume: Resume,
    /// What the command reads besides what stages before it made.
    pub inputs: Vec<Input>,
    /// The stages, by place in the plan, that must be finished before.
    pub after: Vec<usize>,
    /// Files and folders that it makes, and that nothing else makes. They are removed before the stage is
    /// run with another key.
    pub outputs: Vec<PathBuf>,
    /// Method of checking that its outputs are those that it made.
    pub check: Check,
    /// Whether what depends on it can do without.
    pub optional: bool,
}

/// What is done with a stage that was cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Its outputs are removed and it is run anew.
    Anew,
    /// It is run again, and goes on by itself.
    Itself,
    /// It is run again with this argument.
    With(&'static str),
}

/// Stages in an order in which they can be run, in one folder.
#[derive(Debug, Clone)]
pub struct Plan {
    folder: PathBuf,
    stages: Vec<Stage>,
    keys: Vec<String>,
}

/// What a run of a plan will do with a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Todo {
    /// Nothing: it is finished.
    Keep,
    /// Go on with what is there.
    Resume,
    /// Run it for the first time.
    Run,
    /// Remove what other inputs gave, and run it.
    Redo,
    /// Set aside what is damaged or incomplete, and run it.
    Restore,
}

/// Why a study cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be written, or another study runs in the folder.
    #[error(transparent)]
    Durable(#[from] durable::Error),
    /// A file cannot be read, locked or removed.
    #[error("cannot {action} {}: {source}", printable_path(path))]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A stage's record is damaged.
    #[error(
        "{} {reason}\nhint: remove it, and what the stage has made, to run the stage again",
        printable_path(path)
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Scores of a run in the middle of its training are damaged, and it has been trained on.
    #[error(
        "{reason}, and the run was trained on since, so its scores after {epochs} epochs cannot be made again\nhint: remove {} to train and score it again with --resume",
        printable_path(run)
    )]
    TrainedOn {
        /// The damage, in words.
        reason: String,
        /// The run's folder.
        run: PathBuf,
        /// Epochs after which it was scored.
        epochs: u64,
    },
    /// Something is where a stage would write, and no stage has made it.
    #[error(
        "{} is in the way of stage {stage}, which did not make it; move it, or choose another folder",
        printable_path(path)
    )]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// The stage.
        stage: String,
    },
}

pub(crate) fn io_error<'p>(
    action: &'static str,
    path: &'p Path,
) -> impl FnOnce(std::io::Error) -> Error + 'p {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

impl Plan {
    /// An empty plan for a folder, which is made when the plan is run.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), stages: Vec::new(), keys: Vec::new() }
    }

    /// Adds a stage, and gives its place.
    ///
    /// # Errors
    /// When one of its inputs cannot be read.
    ///
    /// # Panics
    /// When it comes after a stage that is not there yet, or a stage has its name.
    pub fn add(&mut self, stage: Stage, code: &str) -> Result<usize, Error> {
        let is_known = |before: &usize| *before < self.stages.len();
        assert!(stage.after.iter().all(is_known), "{} comes before what it is after", stage.name);
        let has_name = |other: &Stage| other.name == stage.name;
        assert!(!self.stages.iter().any(has_name), "two stages are called {}", stage.name);
        let before: Vec<&str> = stage.after.iter().map(|&at| self.keys[at].as_str()).collect();
        self.keys.push(key::key(&stage, &before, code)?);
        self.stages.push(stage);
        Ok(self.stages.len() - 1)
    }

    /// The study's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The stages.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// What a stage has left in the folder, if anything.
    ///
    /// # Errors
    /// When its record is damaged.
    pub fn record(&self, at: usize) -> Result<Option<Record>, Error> {
        Record::read(&self.record_file(at))
    }

    /// Why a stage failed, where it did when it was run as it would be now.
    ///
    /// # Errors
    /// When its record is damaged.
    pub fn failure(&self, at: usize) -> Result<Option<String>, Error> {
        let record = self.record(at)?.filter(|record| record.key == self.keys[at]);
        let failed = record.filter(|record| record.state == State::Failed);
        Ok(failed.map(|record| record.error.unwrap_or_default()))
    }

    /// What a run would do with a stage now.
    ///
    /// # Errors
    /// When its record is damaged, or something else is where it would write.
    pub fn todo(&self, at: usize) -> Result<Todo, Error> {
        let stage = &self.stages[at];
        let Some(record) = self.record(at)? else {
            return match stage.outputs.iter().find(|output| output.exists()) {
                None => Ok(Todo::Run),
                Some(output) => {
                    Err(Error::Foreign { path: output.clone(), stage: stage.name.clone() })
                }
            };
        };
        if record.key != self.keys[at] {
            return Ok(Todo::Redo);
        }
        Ok(match record.state {
            State::Started | State::Failed => Todo::Resume,
            State::Finished => match self.found_damage(at, &record)? {
                None => Todo::Keep,
                Some(Damage::Resumable(_)) => Todo::Resume,
                Some(Damage::Lost(_)) => Todo::Restore,
            },
        })
    }

    /// Returns why a finished stage is not kept although its inputs are the same.
    ///
    /// # Errors
    /// When its record is damaged.
    pub fn damage(&self, at: usize) -> Result<Option<Damage>, Error> {
        let finished =
            |record: &Record| record.key == self.keys[at] && record.state == State::Finished;
        match self.record(at)?.filter(finished) {
            Some(record) => self.found_damage(at, &record),
            None => Ok(None),
        }
    }

    fn found_damage(&self, at: usize, record: &Record) -> Result<Option<Damage>, Error> {
        let stage = &self.stages[at];
        let missing = stage.outputs.iter().find(|output| !output.exists());
        let damage = match missing {
            Some(missing) => Some(Damage::Lost(format!("{} is missing", printable_path(missing)))),
            None => check::damage(stage, record)?,
        };
        if let Some(damage) = &damage {
            check::refuse_later_scores(stage, damage)?;
        }
        Ok(damage)
    }

    /// What a stage has said.
    #[must_use]
    pub fn log_file(&self, at: usize) -> PathBuf {
        self.file(at, "logs", "log")
    }

    fn record_file(&self, at: usize) -> PathBuf {
        self.file(at, "stages", "json")
    }

    fn file(&self, at: usize, folder: &str, extension: &str) -> PathBuf {
        let name = self.stages[at].name.replace('/', ".");
        self.folder.join(folder).join(format!("{name}.{extension}"))
    }
}
