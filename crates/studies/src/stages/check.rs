//! Checks that the outputs of a finished stage are unchanged.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use durable::digests::{self, Digests};
use foreign_text::printable_path;
use runs::RunFolder;
use runs::checkpoints;
use runs::metrics::{self, EpochRecord, EpochScores, StepRecord};

use super::key::listing;
use super::{Error, Plan, Record, Stage};

/// Method of checking that the outputs of a stage are unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Check {
    /// Compares the digests of all output files with those in the stage's record.
    #[default]
    Contents,
    /// Same as [`Check::Contents`], for scores of a run after some epochs. They can be computed
    /// again only until the run is trained further.
    Scores {
        /// The run's folder.
        run: PathBuf,
        /// Epochs of training when it was scored.
        epochs: u64,
    },
    /// Checks the run's own digests, since evaluations and more epochs are added to its folder. It
    /// must be trained to its end, or for some epochs.
    Run {
        /// The run's folder.
        folder: PathBuf,
        /// Epochs after which the stage stops; `None` to train to the end.
        epochs: Option<u64>,
    },
}

/// Damage for which the outputs of a finished stage are not reused, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// The stage's command can resume.
    Resumable(String),
    /// The stage has to be run from the start.
    Lost(String),
}

impl Damage {
    /// Returns the damaged file and its damage.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Resumable(reason) | Self::Lost(reason) => reason,
        }
    }
}

/// Returns the digests of a stage's outputs, for its record.
pub(super) fn digests(plan: &Plan, stage: &Stage) -> Result<Digests, Error> {
    let mut all = Digests::new();
    if matches!(stage.check, Check::Contents | Check::Scores { .. }) {
        for output in &stage.outputs {
            digests::add(&mut all, Path::new(""), output)?;
        }
    }
    Ok(all
        .into_iter()
        .map(|(name, sha)| (plan.paths_by_name.name(Path::new(&name)), sha))
        .collect())
}

/// Checks the outputs of a finished stage.
///
/// Files with the same sizes and times as in this process's last check are not read again.
pub(super) fn damage(plan: &Plan, stage: &Stage, record: &Record) -> Result<Option<Damage>, Error> {
    static SEEN: Mutex<Option<HashMap<String, Option<Damage>>>> = Mutex::new(None);
    let file_state = file_state(stage, record)?;
    let seen = || SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = seen().get_or_insert_default().get(&file_state) {
        return Ok(known.clone());
    }
    let found = match &stage.check {
        Check::Contents | Check::Scores { .. } => {
            let path = |name: &String| plan.paths_by_name.path(name).display().to_string();
            let files = record.files.iter().map(|(name, sha256)| (path(name), sha256.clone()));
            digests::first_changed(&files.collect(), Path::new("")).map(|path| {
                Damage::Lost(format!(
                    "{} has changed since the stage wrote it",
                    printable_path(&path)
                ))
            })
        }
        Check::Run { folder, epochs } => damaged_run(folder, *epochs),
    };
    if found.is_some() && self::file_state(stage, record)? != file_state {
        // Another process writes there, such as the next rung of a sweep, which checks it itself.
        return Ok(None);
    }
    seen().get_or_insert_default().insert(file_state, found.clone());
    Ok(found)
}

/// Returns names, sizes and times of all checked files, to detect changes during a check.
fn file_state(stage: &Stage, record: &Record) -> Result<String, Error> {
    let mut file_state = format!("{:?} {:?}\n", stage.check, record.files);
    let run = match &stage.check {
        Check::Contents | Check::Scores { .. } => None,
        Check::Run { folder, .. } => Some(folder),
    };
    for path in stage.outputs.iter().chain(run) {
        file_state.push_str(&listing(path)?);
    }
    Ok(file_state)
}

/// Fails if the run of damaged scores was trained further: scoring it again would give other
/// scores.
pub(super) fn refuse_later_scores(stage: &Stage, damage: &Damage) -> Result<(), Error> {
    let Check::Scores { run, epochs } = &stage.check else { return Ok(()) };
    // A damaged run is trained again before it is scored.
    match checkpoints::newest(&RunFolder::new(run).checkpoints()) {
        Ok(newest) if newest.position.epoch > *epochs => Err(Error::TrainedOn {
            reason: damage.reason().to_owned(),
            run: run.clone(),
            epochs: *epochs,
        }),
        _ => Ok(()),
    }
}

fn damaged_run(folder: &Path, epochs: Option<u64>) -> Option<Damage> {
    let run = match RunFolder::open(folder) {
        Ok(run) => run,
        Err(error) => return Some(Damage::Lost(first_line(&error))),
    };
    let path = |name: &str| folder.join(name);
    let logs = metrics::records::<StepRecord>(&path("metrics.csv"))
        .and_then(|_| metrics::records::<EpochRecord>(&path("epochs.csv")))
        .and_then(|_| metrics::records::<EpochScores>(&path("epoch-scores.csv")));
    if let Err(error) = logs {
        return Some(Damage::Lost(first_line(&error)));
    }
    // Includes the optimizer state, from which the run may be trained further.
    let position = match checkpoints::newest_whole(&run.checkpoints()) {
        Ok(newest) => newest.position,
        Err(error) => return Some(Damage::Resumable(first_line(&error))),
    };
    if position.finished || epochs.is_some_and(|epochs| position.epoch >= epochs) {
        return None;
    }
    Some(Damage::Resumable(format!("{} is not fully trained", printable_path(folder))))
}

/// Returns an error without its hint, which is for people who run the command themselves.
fn first_line(error: &dyn std::error::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
