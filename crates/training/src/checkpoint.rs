//! Checkpoints: weights, optimizer moments and position, whole or absent, and checked by digest.
//!
//! A checkpoint is a folder. It is filled under another name, synced, and renamed; `state.json` holds
//! the SHA-256 of its safetensors files, so damage is noticed before anything is loaded. An imported
//! model has weights and no moments.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use networks::weights;
use serde::{Deserialize, Serialize};
use tch::{Tensor, nn, no_grad};

use crate::error::Error;
use crate::optimizer::AdamW;
use crate::run_folder::{write_json, write_tensors};

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";

/// Where training is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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

#[derive(Debug, Serialize, Deserialize)]
struct State {
    position: Position,
    sha256: BTreeMap<String, String>,
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

/// Writes a checkpoint under `folder`, then removes those that need not be kept, and what a killed
/// process left unfinished.
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
    rotate(folder, keep, position.best.map(|(_, step)| step))
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
    let partial = path.with_extension("partial");
    durable::create_dir_all(folder)?;
    durable::remove(&partial)?;
    durable::create_dir_all(&partial)?;
    let mut state = State { position: position.clone(), sha256: BTreeMap::new() };
    for (name, tensors) in files {
        let file = partial.join(name);
        write_tensors(&file, tensors)?;
        state.sha256.insert((*name).to_owned(), digest(&file)?);
    }
    write_json(&partial.join(STATE), &state)?;
    // A damaged checkpoint of the same step may be in the way.
    durable::remove(&path)?;
    Ok(durable::replace(&partial, &path)?)
}

/// The newest checkpoint that is whole, and the damaged ones that were passed over, newest first.
///
/// # Errors
/// Only when the folder cannot be listed.
pub fn latest(folder: &Path) -> Result<(Option<Checkpoint>, Vec<Error>), Error> {
    let mut damaged = Vec::new();
    for (_, path) in list(folder)?.into_iter().rev() {
        match verify(&path) {
            Ok(checkpoint) => return Ok((Some(checkpoint), damaged)),
            Err(error) => damaged.push(error),
        }
    }
    Ok((None, damaged))
}

fn verify(path: &Path) -> Result<Checkpoint, Error> {
    let state_path = path.join(STATE);
    let fail = |path: &Path, reason: String| Error::RunFile { path: path.to_owned(), reason };
    let bytes = fs::read(&state_path).map_err(|error| fail(&state_path, error.to_string()))?;
    let state: State =
        serde_json::from_slice(&bytes).map_err(|error| fail(&state_path, error.to_string()))?;
    let has_moments = state.sha256.contains_key(OPTIMIZER);
    for name in [MODEL].into_iter().chain(has_moments.then_some(OPTIMIZER)) {
        let file = path.join(name);
        if state.sha256.get(name) != Some(&digest(&file)?) {
            return Err(fail(&file, "damaged: its SHA-256 is not the one in state.json".into()));
        }
    }
    Ok(Checkpoint {
        path: path.to_owned(),
        position: state.position,
        model_sha256: state.sha256[MODEL].clone(),
        has_moments,
    })
}

fn digest(path: &Path) -> Result<String, Error> {
    Ok(weights::Checkpoint::open(path)?.identity())
}

/// Which of a run's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Which {
    /// The newest that is whole.
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
    let fail = |reason: String| Error::RunFile { path: folder.to_owned(), reason };
    let (newest, damaged) = latest(folder)?;
    let newest = newest.ok_or_else(|| {
        damaged.into_iter().next().unwrap_or_else(|| {
            fail("there is no checkpoint yet; train first: capsmith train --resume".to_owned())
        })
    })?;
    if which == Which::Newest {
        return Ok(newest);
    }
    let (_, step) = newest
        .position
        .best
        .ok_or_else(|| fail("no epoch is finished yet, so none is best".to_owned()))?;
    let path = path_of(folder, step);
    if !path.exists() {
        return Err(fail(format!(
            "the best epoch's checkpoint, {}, was not kept; training.keep_best_checkpoint keeps it",
            path.display()
        )));
    }
    verify(&path)
}

fn path_of(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("step-{step:09}"))
}

/// Checkpoint folders with their steps, oldest first.
fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let fail =
        |error: io::Error| Error::RunFile { path: folder.to_owned(), reason: error.to_string() };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
    };
    let mut steps = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix("step-").and_then(|digits| digits.parse::<u64>().ok());
        if let Some(step) = number {
            steps.push((step, path));
        }
    }
    steps.sort();
    Ok(steps)
}

fn rotate(folder: &Path, keep: Keep, best: Option<u64>) -> Result<(), Error> {
    let all = list(folder)?;
    for (step, path) in &all[..all.len().saturating_sub(keep.newest)] {
        let is_best = keep.best && best == Some(*step);
        let is_due = keep.every_steps > 0 && step.is_multiple_of(keep.every_steps);
        if !is_best && !is_due {
            durable::remove(path)?;
        }
    }
    remove_unfinished(folder)
}

fn remove_unfinished(folder: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.extension().is_some_and(|extension| extension == "partial") {
            durable::remove(&path)?;
        }
    }
    Ok(())
}
