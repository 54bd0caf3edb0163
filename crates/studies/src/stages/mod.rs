//! Stages: `capsmith` commands that depend on each other, run as processes of their own.
//!
//! Each stage has a key: its arguments, the contents of its inputs, the keys of the stages before
//! it and a format number ([`durable::kept::Key`]). A finished stage with the same key is reused if
//! its outputs are unchanged ([`Check`]). An interrupted stage resumes if its command can. A stage
//! with another key moves its outputs aside (`NAME.previous`) and runs again, and so do the stages
//! that depend on it. A study that is moved or copied keeps its keys.
//!
//! ```text
//! STUDY/
//!   stages/NAME.json   key, state, seconds, error and digests of the outputs
//!   inputs/SHA256.txt  digests of the files of an input, to name the one that changes
//!   digests.json       digests of all files of inputs, remembered by size and time
//!   logs/NAME.log      output; locked while the stage runs
//! ```
//!
//! A stage's process watches its standard input and stops when that ends ([`STOP_WITH_STDIN`]), so
//! it ends with the study, even if that is killed. Its log is its standard output and error, and it
//! shares the lock on the log: no other study starts the stage before the last process that writes
//! to the log has ended.

mod check;
mod key;
mod named_paths;
mod record;
mod run;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use durable::digests::DigestCache;
use durable::kept::Key;
use foreign_text::{first_of, printable_path, shell_command};
use named_paths::NamedPaths;

pub use check::{Check, Damage};
pub use key::Input;
pub use record::{Record, State};
pub use run::{Observer, Outcome, Runner, run};

/// Environment variable of a stage's process: stop as for Ctrl-C when standard input ends, and show
/// progress often.
pub const STOP_WITH_STDIN: &str = "CAPSMITH_STOP_WITH_STDIN";

/// Name of the study's folder in keys and records.
const STUDY: &str = "$STUDY";

/// One `capsmith` command.
#[derive(Debug, Clone, Default)]
pub struct Stage {
    /// Name, with `/` between parts.
    pub name: String,
    /// Arguments of `capsmith`.
    pub arguments: Vec<String>,
    /// Method of resuming it after an interruption.
    pub resume: Resume,
    /// Inputs besides the outputs of stages before it.
    pub inputs: Vec<Input>,
    /// Stages that must be finished before, as indices in the plan.
    pub after: Vec<usize>,
    /// Files and folders that only this stage writes. They are moved aside before the stage runs
    /// with another key.
    pub outputs: Vec<PathBuf>,
    /// Method of checking that its outputs are unchanged.
    pub check: Check,
    /// True if later stages can run without it.
    pub optional: bool,
}

impl Stage {
    /// Returns the command as a person would type it.
    fn command(&self) -> String {
        format!("capsmith {}", shell_command(&self.arguments))
    }
}

/// Method of resuming a stage that was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resume {
    /// Removes its outputs and runs it from the start.
    #[default]
    Restart,
    /// Runs it again; its command resumes by itself.
    Rerun,
    /// Runs it again with this argument.
    With(&'static str),
}

impl Resume {
    fn argument(self) -> Option<&'static str> {
        if let Self::With(argument) = self { Some(argument) } else { None }
    }
}

/// Stages of a study's folder, in an order in which they can be run.
#[derive(Debug, Clone)]
pub struct Plan {
    folder: PathBuf,
    stages: Vec<Stage>,
    keys: Vec<Key>,
    paths_by_name: NamedPaths,
    digests: DigestCache,
    /// Texts of all inputs, by their digests in keys.
    inputs: BTreeMap<String, String>,
}

/// Action of a run for a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageAction {
    /// Reuses its finished outputs.
    Keep,
    /// Resumes it.
    Resume,
    /// Runs it for the first time.
    Run,
    /// Moves outputs of other inputs aside and runs it.
    Redo,
    /// Moves damaged or incomplete outputs aside and runs it.
    Restore,
}

/// Error of planning or running a study.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be written, or another study runs in the folder.
    #[error(transparent)]
    Durable(#[from] durable::Error),
    /// A file cannot be read, locked or removed.
    #[error("cannot {action} {}: {source}", printable_path(path))]
    Io {
        /// Verb for the operation.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A stage's record is damaged.
    #[error(
        "{} {reason}\nhint: remove it and the stage's outputs to run the stage again",
        printable_path(path)
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// Damage.
        reason: String,
    },
    /// Scores from the middle of a training are damaged, and the run was trained further.
    #[error(
        "{reason}, and the run has been trained further since, so its scores after {epochs} epochs cannot be computed again\nhint: remove {} to train and score it again with --resume",
        printable_path(run)
    )]
    TrainedOn {
        /// Description of the damage.
        reason: String,
        /// The run's folder.
        run: PathBuf,
        /// Epochs after which the run was scored.
        epochs: u64,
    },
    /// A file that no stage wrote is at the path of a stage's output.
    #[error(
        "stage {stage} would overwrite {}, which it did not write\nhint: move it away, or choose another folder",
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
    /// Returns an empty plan for a folder, which a run creates.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            stages: Vec::new(),
            keys: Vec::new(),
            paths_by_name: NamedPaths(vec![(folder.to_owned(), STUDY)]),
            digests: DigestCache::new(&folder.join("digests.json")),
            inputs: BTreeMap::new(),
        }
    }

    /// Lets `name` stand for a path in the keys of later stages: it may move, by its contents.
    pub fn name_path(&mut self, path: &Path, name: &'static str) {
        self.paths_by_name.0.push((path.to_owned(), name));
    }

    /// Returns a file or folder with its present contents, as an input of many stages.
    ///
    /// # Errors
    /// Fails if something there cannot be read.
    pub fn contents(&mut self, path: &Path) -> Result<Input, Error> {
        Ok(Input::Contents(path.to_owned(), key::contents(path, &mut self.digests)?))
    }

    /// Adds a stage and returns its index.
    ///
    /// # Errors
    /// Fails if one of its inputs cannot be read.
    ///
    /// # Panics
    /// Panics if it comes after a stage that was not added, or another stage has its name.
    pub fn add(&mut self, stage: Stage) -> Result<usize, Error> {
        let is_known = |before: &usize| *before < self.stages.len();
        assert!(stage.after.iter().all(is_known), "{} comes before what it is after", stage.name);
        let has_name = |other: &Stage| other.name == stage.name;
        assert!(!self.stages.iter().any(has_name), "two stages are called {}", stage.name);
        let before =
            stage.after.iter().map(|&index| (self.stages[index].name.as_str(), &self.keys[index]));
        let inputs = key::inputs(&stage, &self.paths_by_name, &mut self.digests)?;
        let key = key::key(&stage, &inputs, &self.paths_by_name, before);
        for (name, text) in inputs {
            self.inputs.insert(key.get(&name).unwrap_or_default().to_owned(), text);
        }
        self.keys.push(key);
        self.stages.push(stage);
        Ok(self.stages.len() - 1)
    }

    /// Marks all recorded stages as outdated: the next run repeats them, whatever their keys.
    ///
    /// # Errors
    /// Names a record that is damaged or cannot be written.
    pub fn outdate(&self) -> Result<(), Error> {
        for index in 0..self.stages.len() {
            if let Some(record) = self.record(index)? {
                Record { state: State::Outdated, ..record }.write(&self.record_file(index))?;
            }
        }
        Ok(())
    }

    /// Returns the study's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the stages.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Reads the record of a stage; `None` if it was never started.
    ///
    /// # Errors
    /// Fails if the record is damaged.
    pub fn record(&self, index: usize) -> Result<Option<Record>, Error> {
        Record::read(&self.record_file(index))
    }

    /// Reads the record of a stage that was started with its present key.
    fn current_record(&self, index: usize) -> Result<Option<Record>, Error> {
        let Some(record) = self.record(index)? else { return Ok(None) };
        Ok(self.is_current(index, &record)?.then_some(record))
    }

    /// Returns whether a stage was started with its present key.
    ///
    /// A record of version 0.1.0 has a digest of sources that are not known any more: its command
    /// is compared.
    fn is_current(&self, index: usize, record: &Record) -> Result<bool, Error> {
        if record.key == Key::default() {
            let stage = &self.stages[index];
            let resumed =
                format!("{} {}", stage.command(), stage.resume.argument().unwrap_or_default());
            return Ok(record.command == stage.command() || record.command == resumed);
        }
        if record.is_old() {
            return Ok(record.key == self.old_key(index)?);
        }
        Ok(record.key == self.keys[index])
    }

    /// Returns the key that version 0.2.0 gave a stage.
    fn old_key(&self, index: usize) -> Result<Key, Error> {
        let stage = &self.stages[index];
        let before = stage.after.iter().map(|&before| {
            let name = format!("stage {}", self.stages[before].name);
            Ok((name, self.old_key(before)?.sha256()))
        });
        key::old_key(stage, Key::new(before.collect::<Result<Vec<_>, Error>>()?))
    }

    /// Returns the error of a stage that failed with its present key.
    ///
    /// # Errors
    /// Fails if its record is damaged.
    pub fn failure(&self, index: usize) -> Result<Option<String>, Error> {
        let failed = self.current_record(index)?.filter(|record| record.state == State::Failed);
        Ok(failed.map(|record| record.error.unwrap_or_default()))
    }

    /// Returns the names of inputs that differ from those that a stage was started with.
    ///
    /// A folder of which a file differs is named by that file, a configuration by its keys.
    ///
    /// # Errors
    /// Fails if its record is damaged.
    pub fn changes(&self, index: usize) -> Result<Vec<String>, Error> {
        let Some(record) = self.record(index)?.filter(|record| !record.is_old()) else {
            return Ok(Vec::new());
        };
        let key = &self.keys[index];
        let names = key.changed_names(&record.key);
        Ok(names.into_iter().map(|name| self.change(&name, &record.key, key)).collect())
    }

    /// Describes the change of an input between two keys.
    fn change(&self, name: &str, before: &Key, now: &Key) -> String {
        let path = self.paths_by_name.path(name);
        let text = |key: &Key| key.get(name).map(|digest| self.input_file(digest));
        let before = text(before).and_then(|file| fs::read_to_string(file).ok());
        let now = now.get(name).and_then(|digest| self.inputs.get(digest));
        let lines = match (&before, now) {
            (Some(before), Some(now)) => key::changed_lines(before, now),
            _ => Vec::new(),
        };
        if lines.is_empty() {
            return printable_path(&path).to_string();
        }
        first_of(lines.into_iter().map(|line| match line.as_str() {
            "" => path.display().to_string(),
            _ if name == "config" => line,
            inner => path.join(inner).display().to_string(),
        }))
    }

    /// Returns the file with the text of an input.
    fn input_file(&self, digest: &str) -> PathBuf {
        self.folder.join("inputs").join(format!("{digest}.txt"))
    }

    /// Writes the texts of all inputs and the digests of their files.
    fn save_inputs(&self) -> Result<(), Error> {
        for (digest, text) in &self.inputs {
            let file = self.input_file(digest);
            if !file.exists() {
                durable::write(&file, text.as_bytes())?;
            }
        }
        Ok(self.digests.save()?)
    }

    /// Returns the action of a run for a stage.
    ///
    /// # Errors
    /// Fails if its record is damaged, or another file is at the path of an output.
    pub fn action(&self, index: usize) -> Result<StageAction, Error> {
        let stage = &self.stages[index];
        let Some(record) = self.record(index)? else {
            return match stage.outputs.iter().find(|output| output.exists()) {
                None => Ok(StageAction::Run),
                Some(output) => {
                    Err(Error::Foreign { path: output.clone(), stage: stage.name.clone() })
                }
            };
        };
        if !self.is_current(index, &record)? {
            return Ok(StageAction::Redo);
        }
        Ok(match record.state {
            State::Outdated => StageAction::Redo,
            State::Started | State::Failed => StageAction::Resume,
            State::Finished => match self.found_damage(index, &record)? {
                None => StageAction::Keep,
                Some(Damage::Resumable(_)) => StageAction::Resume,
                Some(Damage::Lost(_)) => StageAction::Restore,
            },
        })
    }

    /// Returns the damage for which a finished stage is not reused.
    ///
    /// # Errors
    /// Fails if its record is damaged.
    pub fn damage(&self, index: usize) -> Result<Option<Damage>, Error> {
        match self.current_record(index)?.filter(|record| record.state == State::Finished) {
            Some(record) => self.found_damage(index, &record),
            None => Ok(None),
        }
    }

    fn found_damage(&self, index: usize, record: &Record) -> Result<Option<Damage>, Error> {
        let stage = &self.stages[index];
        let missing = stage.outputs.iter().find(|output| !output.exists());
        let damage = match missing {
            Some(missing) => Some(Damage::Lost(format!("{} is missing", printable_path(missing)))),
            None => check::damage(self, stage, record)?,
        };
        if let Some(damage) = &damage {
            check::refuse_later_scores(stage, damage)?;
        }
        Ok(damage)
    }

    /// Returns the log file of a stage.
    #[must_use]
    pub fn log_file(&self, index: usize) -> PathBuf {
        self.file(index, "logs", "log")
    }

    fn record_file(&self, index: usize) -> PathBuf {
        self.file(index, "stages", "json")
    }

    fn file(&self, index: usize, folder: &str, extension: &str) -> PathBuf {
        let name = self.stages[index].name.replace('/', ".");
        self.folder.join(folder).join(format!("{name}.{extension}"))
    }
}
