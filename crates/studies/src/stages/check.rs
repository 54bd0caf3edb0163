//! Checks that the outputs of a finished stage are those that it made.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use durable::digests::{self, Digests};
use foreign_text::printable_path;
use runs::RunFolder;
use runs::checkpoints;
use runs::metrics::{self, EpochRecord, EpochScores, StepRecord};

use super::key::listing;
use super::{Error, Record, Stage};

/// Method of checking that the outputs of a stage are those that it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// By the digests of all their files, which the stage's record keeps.
    Contents,
    /// As [`Check::Contents`], of the scores of a run after so many epochs: they can be made again only
    /// until the run is trained on.
    Scores {
        /// The run's folder.
        run: PathBuf,
        /// Epochs that it was trained when it was scored.
        epochs: u64,
    },
    /// By the digests that a run has of its own, since evaluations and more epochs are added to its
    /// folder. It must be trained to its end, or for so many epochs.
    Run {
        /// The run's folder.
        folder: PathBuf,
        /// Epochs after which the stage stops, where it does not train to the end.
        epochs: Option<u64>,
    },
}

/// Why the outputs of a finished stage are not used, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// The stage's command can go on from what is there.
    Resumable(String),
    /// All of it is made again.
    Lost(String),
}

impl Damage {
    /// Returns what is damaged, and how.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Resumable(reason) | Self::Lost(reason) => reason,
        }
    }
}

/// Returns the digests of what a stage has made, for its record.
pub(super) fn digests(stage: &Stage) -> Result<Digests, Error> {
    let mut all = Digests::new();
    if matches!(stage.check, Check::Contents | Check::Scores { .. }) {
        for output in &stage.outputs {
            digests::add(&mut all, Path::new(""), output)?;
        }
    }
    Ok(all)
}

/// Returns what is wrong with the outputs of a finished stage. Files that look the same as when they were
/// checked last by this process are not read again.
pub(super) fn damage(stage: &Stage, record: &Record) -> Result<Option<Damage>, Error> {
    static SEEN: Mutex<Option<HashMap<String, Option<Damage>>>> = Mutex::new(None);
    let looks = looks(stage, record)?;
    let seen = || SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = seen().get_or_insert_default().get(&looks) {
        return Ok(known.clone());
    }
    let found = match &stage.check {
        Check::Contents | Check::Scores { .. } => {
            digests::first_changed(&record.files, Path::new("")).map(|path| {
                Damage::Lost(format!("{} is not as the stage left it", printable_path(&path)))
            })
        }
        Check::Run { folder, epochs } => damaged_run(folder, *epochs),
    };
    if found.is_some() && self::looks(stage, record)? != looks {
        // Another process is at work there, such as the next rung of a sweep, which checks it itself.
        return Ok(None);
    }
    seen().get_or_insert_default().insert(looks, found.clone());
    Ok(found)
}

/// Returns what is checked, as far as the file system tells without reading it.
fn looks(stage: &Stage, record: &Record) -> Result<String, Error> {
    let mut looks = format!("{:?} {:?}\n", stage.check, record.files);
    let run = match &stage.check {
        Check::Contents | Check::Scores { .. } => None,
        Check::Run { folder, .. } => Some(folder),
    };
    for path in stage.outputs.iter().chain(run) {
        looks.push_str(&listing(path)?);
    }
    Ok(looks)
}

/// Refuses to score a run again that has been trained on since: it would be another score.
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
    // With the moments, from which the run may be trained on.
    let position = match checkpoints::newest_whole(&run.checkpoints()) {
        Ok(newest) => newest.position,
        Err(error) => return Some(Damage::Resumable(first_line(&error))),
    };
    if position.finished || epochs.is_some_and(|epochs| position.epoch >= epochs) {
        return None;
    }
    Some(Damage::Resumable(format!("{} is not trained to its end", printable_path(folder))))
}

/// Returns an error without its hint, which is for people who run the command themselves.
fn first_line(error: &dyn std::error::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
