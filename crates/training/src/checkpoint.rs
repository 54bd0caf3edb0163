//! Tensors of checkpoints: weights and moments. [`runs::checkpoints`] handles the files.

use std::path::Path;

use networks::weights::{self, write_tensors};
use runs::checkpoints::{self, Checkpoint, Position, Retention};
use tch::{Tensor, nn, no_grad};

use crate::error::Error;
use crate::optimizer::AdamW;

/// Opens the weights of a checkpoint, which have ClipCap's names.
///
/// # Errors
/// Names the file that cannot be read.
pub fn weights(checkpoint: &Checkpoint) -> Result<weights::Checkpoint, Error> {
    Ok(weights::Checkpoint::open(&checkpoint.model())?)
}

/// Copies the weights of a checkpoint into `store`.
///
/// # Errors
/// Names the tensors that do not fit.
pub fn load_model(checkpoint: &Checkpoint, store: &mut nn::VarStore) -> Result<(), Error> {
    Ok(weights::load(store, &weights(checkpoint)?, str::to_owned, |_| false)?)
}

/// Copies the moments of a checkpoint into `optimizer`.
///
/// # Errors
/// Names the file if it is damaged, or if a moment is missing or has another shape; fails if the
/// checkpoint has none.
pub fn load_moments(checkpoint: &Checkpoint, optimizer: &AdamW) -> Result<(), Error> {
    let path = checkpoint.moments()?;
    let file = weights::Checkpoint::open(&path)?;
    for (name, mut moment) in optimizer.moments() {
        let saved = file.tensor(&name, moment.device())?;
        if saved.size() != moment.size() {
            return Err(Error::RunFile {
                path,
                reason: format!(
                    "`{name}` has another shape than in the model; the run folder belongs to another model"
                ),
            });
        }
        no_grad(|| moment.copy_(&saved));
    }
    Ok(())
}

/// Writes a checkpoint in `folder`, and removes others by `keep`.
///
/// Also removes later steps, which are damaged, and unfinished checkpoints of killed processes.
///
/// # Errors
/// Names the file; earlier checkpoints are untouched.
pub fn save(
    folder: &Path,
    position: &Position,
    model: &[(String, Tensor)],
    optimizer: &AdamW,
    keep: Retention,
) -> Result<(), Error> {
    let moments = optimizer.moments();
    checkpoints::write::<Error>(
        folder,
        position,
        &|path| Ok(write_tensors(path, model)?),
        Some(&|path| Ok(write_tensors(path, &moments)?)),
    )?;
    checkpoints::remove_later(folder, position.step)?;
    Ok(checkpoints::rotate(folder, position, keep)?)
}

/// Writes a checkpoint without moments in `folder`.
///
/// # Errors
/// Names the file.
pub(crate) fn save_model(
    folder: &Path,
    position: &Position,
    model: &[(String, Tensor)],
) -> Result<(), Error> {
    checkpoints::write(folder, position, &|path| Ok(write_tensors(path, model)?), None)
}
