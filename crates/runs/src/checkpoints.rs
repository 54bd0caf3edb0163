//! Checkpoints as files: weights, optimizer moments and position, checked by digest.
//!
//! A checkpoint is a folder named after its step. It is written under a temporary name, synced, and
//! renamed; a checkpoint that is removed gets a temporary name first. `state.json` holds the
//! SHA-256 of the safetensors files and of its own contents, so damage is noticed before anything
//! is loaded. Only when training resumes does an older checkpoint replace a damaged one, and only
//! then are moments read. An imported model has weights and no moments.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use durable::digests::{self, Digests};
use durable::sealed;
use foreign_text::printable_path;
use recipes::CheckpointChoice;
use serde::{Deserialize, Serialize};

use crate::error::Error;

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// Position of training.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Steps finished.
    pub step: u64,
    /// Epochs finished.
    pub epoch: u64,
    /// Batches finished in the epoch under way.
    pub batch: usize,
    /// Lowest last loss of an epoch so far.
    pub best_loss: Option<f64>,
    /// Epochs in a row whose last loss was not lower.
    pub epochs_without_improvement: u64,
    /// Lowest loss after an epoch so far, and the step after which it was measured.
    ///
    /// This is the loss on the held-out captions if there are any, else of the last batch.
    pub best: Option<(f64, u64)>,
    /// True if nothing is left to train.
    pub finished: bool,
    /// Loss of an epoch's last batch, if training stopped before the held-out loss of that epoch
    /// was measured; otherwise `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_loss: Option<f64>,
}

/// Checkpoints that rotation keeps.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Number of newest checkpoints to keep.
    pub newest: usize,
    /// Keeps the checkpoint of the best epoch.
    pub best: bool,
    /// Keeps the checkpoints of every this many steps; 0 for none.
    pub every_steps: u64,
}

/// Contents of `state.json`. In version 0.1.0 it had no digest of its own.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    position: Position,
    /// SHA-256 of the checkpoint's other files; version 0.1.0 called it `sha256`.
    #[serde(alias = "sha256")]
    files: Digests,
}

/// A checkpoint whose weights had the right digest.
#[derive(Debug)]
pub struct Checkpoint {
    /// Folder of the checkpoint.
    pub path: PathBuf,
    /// Position of training.
    pub position: Position,
    files: Digests,
}

impl Checkpoint {
    /// Returns the path of the weights.
    #[must_use]
    pub fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    /// Returns the SHA-256 of the weights.
    #[must_use]
    pub fn model_sha256(&self) -> &str {
        self.files.get(MODEL).map_or("", String::as_str)
    }

    fn has_moments(&self) -> bool {
        self.files.contains_key(OPTIMIZER)
    }

    /// Returns the path of the moments after checking their digest.
    ///
    /// # Errors
    /// Names the file that is damaged; fails if the checkpoint has none.
    pub fn moments(&self) -> Result<PathBuf, Error> {
        if !self.has_moments() {
            return Err(Error::file(
                &self.path,
                "this model was imported, without the optimizer's state, so its training cannot be resumed\nhint: start a new run from it by setting gpt2.model to this run's folder",
            ));
        }
        self.check(OPTIMIZER)?;
        Ok(self.path.join(OPTIMIZER))
    }

    fn check(&self, name: &str) -> Result<(), Error> {
        let file = self.path.join(name);
        if self.files.get(name) == Some(&digests::of_file(&file)?) {
            return Ok(());
        }
        Err(Error::file(&file, format!("is damaged: its SHA-256 is not the one in {STATE}")))
    }
}

/// Function that writes a file of a checkpoint at the given path.
pub type WriteFile<'a, E> = &'a dyn Fn(&Path) -> Result<(), E>;

/// Writes a checkpoint in `folder`: `model`, and the optimizer's `moments` if it has any.
///
/// # Errors
/// Names the file; earlier checkpoints are untouched.
pub fn write<E: From<Error>>(
    folder: &Path,
    position: &Position,
    model: WriteFile<E>,
    moments: Option<WriteFile<E>>,
) -> Result<(), E> {
    let path = path_of(folder, position.step);
    let partial = unfinished(&path);
    let prepared = durable::create_dir_all(folder).and_then(|()| durable::remove(&partial));
    prepared.map_err(Error::from)?;
    if let Err(error) = fill(&partial, position, model, moments) {
        // The first error is reported; a leftover would only take space.
        let _ = durable::remove(&partial);
        return Err(error);
    }
    Ok(place(&partial, &path)?)
}

/// Gives a finished checkpoint its name, in place of one of the same step.
///
/// There is one if training was interrupted at the end of the epoch, or if it is damaged. Its files
/// are removed last, so that a kill does not leave neither.
fn place(partial: &Path, path: &Path) -> Result<(), Error> {
    let replaced = path.with_extension("replaced.partial");
    durable::remove(&replaced)?;
    if path.exists() {
        durable::replace(path, &replaced)?;
    }
    durable::replace(partial, path)?;
    Ok(durable::remove(&replaced)?)
}

fn fill<E: From<Error>>(
    partial: &Path,
    position: &Position,
    model: WriteFile<E>,
    moments: Option<WriteFile<E>>,
) -> Result<(), E> {
    durable::create_dir_all(partial).map_err(Error::from)?;
    let mut state = State { position: position.clone(), files: Digests::new() };
    let files = [Some((MODEL, model)), moments.map(|moments| (OPTIMIZER, moments))];
    for (name, write) in files.into_iter().flatten() {
        let file = partial.join(name);
        write(&file)?;
        state.files.insert(name.to_owned(), digests::of_file(&file).map_err(Error::from)?);
    }
    Ok(sealed::write_json(&partial.join(STATE), &state).map_err(Error::from)?)
}

/// Removes the checkpoints after `step`, which are damaged.
///
/// # Errors
/// Names the folder that cannot be removed.
pub fn remove_later(folder: &Path, step: u64) -> Result<(), Error> {
    let later = list(folder)?.into_iter().filter(|(later, _)| *later > step);
    later.map(|(_, path)| path).try_for_each(|path| remove_checkpoint(&path))
}

/// Returns the newest undamaged checkpoint, and an error for each newer one, newest first.
///
/// Both weights and moments are checked.
///
/// # Errors
/// Fails only if the folder cannot be listed.
pub fn latest(folder: &Path) -> Result<(Option<Checkpoint>, Vec<Error>), Error> {
    latest_with(folder, true)
}

fn latest_with(
    folder: &Path,
    with_moments: bool,
) -> Result<(Option<Checkpoint>, Vec<Error>), Error> {
    let checkpoints = list(folder)?;
    let newest = checkpoints.last().map(|(step, _)| *step);
    let mut damaged = renamed(folder, newest)?;
    for (step, path) in checkpoints.into_iter().rev() {
        match verify(&path, step, with_moments) {
            Ok(checkpoint) => return Ok((Some(checkpoint), damaged)),
            Err(error) => damaged.push(error),
        }
    }
    Ok((None, damaged))
}

/// Returns the newest checkpoint after checking its weights. Moments are not read.
///
/// # Errors
/// Names the file that is damaged, missing or renamed; fails if there is no checkpoint.
pub fn newest(folder: &Path) -> Result<Checkpoint, Error> {
    undamaged(folder, latest_with(folder, false)?)
}

/// Returns the newest checkpoint after checking its weights and moments.
///
/// # Errors
/// Same as [`newest`].
pub fn newest_whole(folder: &Path) -> Result<Checkpoint, Error> {
    undamaged(folder, latest(folder)?)
}

fn undamaged(
    folder: &Path,
    (newest, damaged): (Option<Checkpoint>, Vec<Error>),
) -> Result<Checkpoint, Error> {
    if let Some(error) = damaged.into_iter().next() {
        return Err(Error::DamagedCheckpoint { source: Box::new(error) });
    }
    newest.ok_or_else(|| {
        Error::file(folder, "there is no checkpoint; train first: capsmith train --resume")
    })
}

fn read_state(folder: &Path) -> Result<State, Error> {
    let path = folder.join(STATE);
    sealed::read_json_of_any_version(&path).map_err(|error| Error::file(&path, error.to_string()))
}

/// Returns the newest checkpoint's position without reading its weights; `None` if there is none.
///
/// # Errors
/// Names the state that is damaged.
pub fn newest_position(folder: &Path) -> Result<Option<Position>, Error> {
    let newest = list(folder)?.pop();
    newest.map(|(_, path)| Ok(read_state(&path)?.position)).transpose()
}

/// Returns the step of a checkpoint without reading its weights; `None` if there is none.
///
/// # Errors
/// Names the state that is damaged.
pub fn step(folder: &Path, choice: CheckpointChoice) -> Result<Option<u64>, Error> {
    let Some((newest, path)) = list(folder)?.pop() else { return Ok(None) };
    Ok(match choice {
        CheckpointChoice::Newest => Some(newest),
        CheckpointChoice::Best => read_state(&path)?.position.best.map(|(_, step)| step),
    })
}

fn verify(path: &Path, step: u64, with_moments: bool) -> Result<Checkpoint, Error> {
    let State { position, files } = read_state(path)?;
    if position.step != step {
        return Err(Error::file(
            path,
            format!(
                "is the checkpoint of step {}, as its {STATE} says; rename it to {}",
                position.step,
                name_of(position.step)
            ),
        ));
    }
    let checkpoint = Checkpoint { path: path.to_owned(), position, files };
    checkpoint.check(MODEL)?;
    if with_moments && checkpoint.has_moments() {
        checkpoint.check(OPTIMIZER)?;
    }
    Ok(checkpoint)
}

/// Returns the chosen checkpoint after checking its weights.
///
/// # Errors
/// Names the file that is damaged; fails if there is no checkpoint.
pub fn find(folder: &Path, choice: CheckpointChoice) -> Result<Checkpoint, Error> {
    let fail = |reason: String| Error::file(folder, reason);
    let newest = newest(folder)?;
    if choice == CheckpointChoice::Newest {
        return Ok(newest);
    }
    let Some((_, step)) = newest.position.best else {
        // An imported model has no epochs and only one checkpoint.
        if !newest.has_moments() {
            return Ok(newest);
        }
        return Err(fail("no epoch is finished yet, so none is best".to_owned()));
    };
    let path = path_of(folder, step);
    if !path.exists() {
        return Err(fail(format!(
            "the best epoch's checkpoint, {}, was not kept; set training.keep_best_checkpoint=true to keep it",
            printable_path(&path)
        )));
    }
    verify(&path, step, false)
}

fn name_of(step: u64) -> String {
    format!("step-{step:09}")
}

fn path_of(folder: &Path, step: u64) -> PathBuf {
    folder.join(name_of(step))
}

/// Returns the temporary name of a checkpoint that is being written or removed.
fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("partial")
}

fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "partial")
}

/// Returns checkpoint folders with their steps, oldest first.
fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let steps = entries(folder)?.into_iter().filter_map(|path| Some((step_of(&path)?, path)));
    let mut steps: Vec<(u64, PathBuf)> = steps.collect();
    steps.sort();
    Ok(steps)
}

/// Returns the step in a checkpoint's name; `None` for any other name.
fn step_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (name_of(step) == name).then_some(step)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error: io::Error| Error::file(folder, error.to_string());
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(unreadable)?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unreadable(error)),
    }
}

/// Returns an error for each renamed checkpoint that is newer than step `newest`.
///
/// Renamed copies of older ones do no harm.
fn renamed(folder: &Path, newest: Option<u64>) -> Result<Vec<Error>, Error> {
    let others = entries(folder)?
        .into_iter()
        .filter(|path| path.is_dir() && step_of(path).is_none() && !is_unfinished(path));
    let newer = others.filter_map(|path| {
        let step = read_state(&path).ok()?.position.step;
        newest.is_none_or(|newest| step > newest).then(|| {
            let name = name_of(step);
            Error::file(&path, format!("is the checkpoint of step {step}; rename it to {name}"))
        })
    });
    Ok(newer.collect())
}

/// Removes the checkpoints that `keep` does not name, and unfinished ones of killed processes.
///
/// # Errors
/// Names the folder that cannot be removed.
pub fn rotate(folder: &Path, position: &Position, keep: Retention) -> Result<(), Error> {
    let mut done = list(folder)?;
    // Later checkpoints are damaged, and do not count as kept.
    done.retain(|(step, _)| *step <= position.step);
    let best = position.best.map(|(_, step)| step);
    for (step, path) in &done[..done.len().saturating_sub(keep.newest)] {
        let is_best = keep.best && best == Some(*step);
        let is_due = keep.every_steps > 0 && step.is_multiple_of(keep.every_steps);
        if !is_best && !is_due {
            remove_checkpoint(path)?;
        }
    }
    for path in entries(folder)?.iter().filter(|path| is_unfinished(path)) {
        durable::remove(path)?;
    }
    Ok(())
}

/// Removes a checkpoint. It is renamed first: half removed, it would look damaged.
fn remove_checkpoint(path: &Path) -> Result<(), Error> {
    let unfinished = unfinished(path);
    durable::remove(&unfinished)?;
    durable::replace(path, &unfinished)?;
    Ok(durable::remove(&unfinished)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_checkpoint_of_the_same_step_is_replaced_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let position = Position { step: 5, ..Position::default() };
        for weights in ["first", "second"] {
            let model = |path: &Path| Ok::<_, Error>(durable::write(path, weights.as_bytes())?);
            write(folder.path(), &position, &model, None).unwrap();
            let newest = newest(folder.path()).unwrap();
            assert_eq!(fs::read_to_string(newest.model()).unwrap(), weights);
        }
        assert_eq!(entries(folder.path()).unwrap(), [path_of(folder.path(), 5)]);
    }
}
