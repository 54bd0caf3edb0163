//! Checkpoints: weights, optimizer moments and position, whole or absent, and checked by digest.
//!
//! A checkpoint is a folder that is named after its step. It is filled under another name, synced, and
//! renamed; one that is no longer kept is renamed before it is removed. `state.json` holds the SHA-256
//! of its safetensors files and of its own contents, so damage is noticed before anything is loaded.
//! An older checkpoint takes the place of a damaged one only where training resumes. An imported model
//! has weights and no moments.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use durable::digests::Digests;
use durable::sealed;
use foreign_text::printable_path;
use networks::weights;
use serde::{Deserialize, Serialize};
use tch::{Tensor, nn, no_grad};

use crate::error::Error;
use crate::optimizer::AdamW;
use crate::run_folder::write_tensors;

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// Where training is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// Steps finished.
    pub step: u64,
    /// Epochs finished.
    pub epoch: u64,
    /// Batches finished in the epoch under way.
    pub batch: usize,
    /// The best last loss of an epoch so far.
    pub best_loss: Option<f64>,
    /// Epochs in a row whose last loss did not beat it.
    pub epochs_without_improvement: u64,
    /// The lowest loss after an epoch so far, on the held-out captions where there are any, and the
    /// step it was measured after.
    pub best: Option<(f64, u64)>,
    /// Nothing is left to train.
    pub finished: bool,
    /// The loss of the last batch, where training was stopped between an epoch's last batch and its
    /// measurement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_loss: Option<f64>,
}

/// Which checkpoints are kept.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// So many of the newest.
    pub newest: usize,
    /// That of the best epoch.
    pub best: bool,
    /// Those of every so many steps; 0 for none.
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

/// A checkpoint whose digests were right.
#[derive(Debug)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Where training was.
    pub position: Position,
    /// SHA-256 of its weights.
    pub(crate) model_sha256: String,
    has_moments: bool,
}

impl Checkpoint {
    /// Opens the weights, under ClipCap's names.
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn weights(&self) -> Result<weights::Checkpoint, Error> {
        Ok(weights::Checkpoint::open(&self.path.join(MODEL))?)
    }

    /// Copies the weights into `store`.
    ///
    /// # Errors
    /// Names the tensors that do not fit.
    pub fn load_model(&self, store: &mut nn::VarStore) -> Result<(), Error> {
        Ok(weights::load(store, &self.weights()?, str::to_owned, |_| false)?)
    }

    /// Copies the moments into `optimizer`.
    ///
    /// # Errors
    /// Names the file when a moment is missing or has another shape, and says so where the
    /// checkpoint has none.
    pub fn load_moments(&self, optimizer: &AdamW) -> Result<(), Error> {
        if !self.has_moments {
            return Err(Error::RunFile {
                path: self.path.clone(),
                reason: "this model was imported, without the optimizer's state, so its training cannot be resumed; begin a new run from it by setting gpt2.model to this run's folder".into(),
            });
        }
        let path = self.path.join(OPTIMIZER);
        let file = weights::Checkpoint::open(&path)?;
        for (name, mut moment) in optimizer.moments() {
            let saved = file.tensor(&name, moment.device())?;
            if saved.size() != moment.size() {
                return Err(Error::RunFile {
                    path,
                    reason: format!(
                        "`{name}` has another shape than the model; the run folder is of another model"
                    ),
                });
            }
            no_grad(|| moment.copy_(&saved));
        }
        Ok(())
    }
}

/// Writes a checkpoint under `folder`, then removes those that need not be kept, those of later steps,
/// which were damaged and passed over, and what a killed process left unfinished.
///
/// # Errors
/// Names the file; earlier checkpoints are untouched.
pub fn save(
    folder: &Path,
    position: &Position,
    model: &[(String, Tensor)],
    optimizer: &AdamW,
    keep: Keep,
) -> Result<(), Error> {
    write(folder, position, &[(MODEL, model), (OPTIMIZER, &optimizer.moments())])?;
    for (_, later) in list(folder)?.into_iter().filter(|(step, _)| *step > position.step) {
        retire(&later)?;
    }
    rotate(folder, position, keep)
}

/// Writes a checkpoint without moments under `folder`.
///
/// # Errors
/// Names the file.
pub(crate) fn save_model(
    folder: &Path,
    position: &Position,
    model: &[(String, Tensor)],
) -> Result<(), Error> {
    write(folder, position, &[(MODEL, model)])
}

fn write(
    folder: &Path,
    position: &Position,
    files: &[(&str, &[(String, Tensor)])],
) -> Result<(), Error> {
    let path = path_of(folder, position.step);
    let partial = unfinished(&path);
    durable::create_dir_all(folder)?;
    durable::remove(&partial)?;
    if let Err(error) = fill(&partial, position, files) {
        // The error is the one to tell; a leftover would only take space.
        let _ = durable::remove(&partial);
        return Err(error);
    }
    // A damaged checkpoint of the same step may be in the way.
    durable::remove(&path)?;
    Ok(durable::replace(&partial, &path)?)
}

fn fill(
    partial: &Path,
    position: &Position,
    files: &[(&str, &[(String, Tensor)])],
) -> Result<(), Error> {
    durable::create_dir_all(partial)?;
    let mut state = State { position: position.clone(), files: Digests::new() };
    for (name, tensors) in files {
        let file = partial.join(name);
        write_tensors(&file, tensors)?;
        state.files.insert((*name).to_owned(), digest(&file)?);
    }
    Ok(sealed::write_json(&partial.join(STATE), &state)?)
}

/// Returns the newest checkpoint that is whole, and why newer ones were passed over, newest first.
///
/// # Errors
/// Only when the folder cannot be listed.
pub fn latest(folder: &Path) -> Result<(Option<Checkpoint>, Vec<Error>), Error> {
    let checkpoints = list(folder)?;
    let newest = checkpoints.last().map(|(step, _)| *step);
    let mut damaged = renamed(folder, newest)?;
    for (step, path) in checkpoints.into_iter().rev() {
        match verify(&path, step) {
            Ok(checkpoint) => return Ok((Some(checkpoint), damaged)),
            Err(error) => damaged.push(error),
        }
    }
    Ok((None, damaged))
}

/// Returns the newest checkpoint, which must be whole.
///
/// # Errors
/// Names the file that is damaged, missing or under another name; says so where there is none.
pub fn newest(folder: &Path) -> Result<Checkpoint, Error> {
    let (newest, damaged) = latest(folder)?;
    if let Some(error) = damaged.into_iter().next() {
        return Err(Error::DamagedCheckpoint { source: Box::new(error) });
    }
    newest.ok_or_else(|| {
        fail(folder, "there is no checkpoint; train first: capsmith train --resume".to_owned())
    })
}

fn fail(path: &Path, reason: String) -> Error {
    Error::RunFile { path: path.to_owned(), reason }
}

fn read_state(folder: &Path) -> Result<State, Error> {
    let path = folder.join(STATE);
    sealed::read_json_of_any_version(&path).map_err(|error| fail(&path, error.to_string()))
}

/// Returns the step of one of a run's checkpoints; none where there is no checkpoint. The weights are
/// not read.
///
/// # Errors
/// Names the state that is damaged.
pub fn step(folder: &Path, which: Which) -> Result<Option<u64>, Error> {
    let Some((newest, path)) = list(folder)?.pop() else { return Ok(None) };
    Ok(match which {
        Which::Newest => Some(newest),
        Which::Best => read_state(&path)?.position.best.map(|(_, step)| step),
    })
}

fn verify(path: &Path, step: u64) -> Result<Checkpoint, Error> {
    let state = read_state(path)?;
    if state.position.step != step {
        return Err(fail(
            path,
            format!(
                "is the checkpoint of step {}, as its {STATE} says; rename it to {}",
                state.position.step,
                name_of(state.position.step)
            ),
        ));
    }
    let has_moments = state.files.contains_key(OPTIMIZER);
    for name in [MODEL].into_iter().chain(has_moments.then_some(OPTIMIZER)) {
        let file = path.join(name);
        if state.files.get(name) != Some(&digest(&file)?) {
            return Err(fail(&file, format!("is damaged: its SHA-256 is not the one in {STATE}")));
        }
    }
    Ok(Checkpoint {
        path: path.to_owned(),
        position: state.position,
        model_sha256: state.files[MODEL].clone(),
        has_moments,
    })
}

fn digest(path: &Path) -> Result<String, Error> {
    Ok(weights::Checkpoint::open(path)?.identity())
}

/// Which of a run's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Which {
    /// The newest.
    #[default]
    Newest,
    /// That of the epoch with the lowest loss.
    Best,
}

/// One of a run's checkpoints.
///
/// # Errors
/// Names the file that is damaged; says so when there is none.
pub fn find(folder: &Path, which: Which) -> Result<Checkpoint, Error> {
    let fail = |reason: String| fail(folder, reason);
    let newest = newest(folder)?;
    if which == Which::Newest {
        return Ok(newest);
    }
    let Some((_, step)) = newest.position.best else {
        // An imported model has no epochs, and no other checkpoint.
        if !newest.has_moments {
            return Ok(newest);
        }
        return Err(fail("no epoch is finished yet, so none is best".to_owned()));
    };
    let path = path_of(folder, step);
    if !path.exists() {
        return Err(fail(format!(
            "the best epoch's checkpoint, {}, was not kept; training.keep_best_checkpoint keeps it",
            printable_path(&path)
        )));
    }
    verify(&path, step)
}

fn name_of(step: u64) -> String {
    format!("step-{step:09}")
}

fn path_of(folder: &Path, step: u64) -> PathBuf {
    folder.join(name_of(step))
}

/// Returns the name of a checkpoint that is being written or removed.
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

/// Returns the step that a checkpoint's name says; none of a name that is no checkpoint's.
fn step_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (name_of(step) == name).then_some(step)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error: io::Error| fail(folder, error.to_string());
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry.map_err(unreadable)?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unreadable(error)),
    }
}

/// Returns an error for each checkpoint that is newer than step `newest` and under a name that is no
/// checkpoint's. Copies of older ones do no harm.
fn renamed(folder: &Path, newest: Option<u64>) -> Result<Vec<Error>, Error> {
    let others = entries(folder)?
        .into_iter()
        .filter(|path| path.is_dir() && step_of(path).is_none() && !is_unfinished(path));
    let newer = others.filter_map(|path| {
        let step = read_state(&path).ok()?.position.step;
        newest.is_none_or(|newest| step > newest).then(|| {
            let name = name_of(step);
            fail(&path, format!("is the checkpoint of step {step}; rename it to {name}"))
        })
    });
    Ok(newer.collect())
}

/// Removes the checkpoints that need not be kept where training is at `position`, and what a killed
/// process left unfinished.
///
/// # Errors
/// Names the folder that cannot be removed.
pub(crate) fn rotate(folder: &Path, position: &Position, keep: Keep) -> Result<(), Error> {
    let mut done = list(folder)?;
    // A later one is damaged, and does not count among those that are kept.
    done.retain(|(step, _)| *step <= position.step);
    let best = position.best.map(|(_, step)| step);
    for (step, path) in &done[..done.len().saturating_sub(keep.newest)] {
        let is_best = keep.best && best == Some(*step);
        let is_due = keep.every_steps > 0 && step.is_multiple_of(keep.every_steps);
        if !is_best && !is_due {
            retire(path)?;
        }
    }
    for path in entries(folder)?.iter().filter(|path| is_unfinished(path)) {
        durable::remove(path)?;
    }
    Ok(())
}

/// Removes a checkpoint. It is renamed first: half removed, it would look like a damaged one.
fn retire(path: &Path) -> Result<(), Error> {
    let unfinished = unfinished(path);
    durable::remove(&unfinished)?;
    durable::replace(path, &unfinished)?;
    Ok(durable::remove(&unfinished)?)
}
