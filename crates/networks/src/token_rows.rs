//! Rows of token ids: checks, and computation in batches.

use tch::{Device, Kind, TchError, Tensor};

use crate::error::ModelError;
use crate::transfer::to_device;

/// Fails if a token id is not in the vocabulary.
pub(crate) fn check_ids(
    mut ids: impl Iterator<Item = i64>,
    vocab_size: i64,
) -> Result<(), ModelError> {
    ids.find(|id| !(0..vocab_size).contains(id)).map_or(Ok(()), |id| {
        Err(ModelError::Tokens(format!(
            "token id {id} is not in the vocabulary of {vocab_size} tokens"
        )))
    })
}

/// Returns `width` values for each of `rows`, `[rows, width]`, on `device`.
///
/// Computes at most `batch` rows at a time, sorted by length to keep padding small.
///
/// # Errors
/// Fails if `compute` does, or memory is exhausted.
pub fn compute_by_length<I, E: From<TchError>>(
    rows: &[Vec<I>],
    batch: usize,
    width: i64,
    device: Device,
    compute: impl Fn(&[&[I]]) -> Result<Tensor, E>,
) -> Result<Tensor, E> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&row| rows[row].len());
    let mut all = Tensor::f_zeros([rows.len() as i64, width], (Kind::Float, device))?;
    for part in order.chunks(batch.max(1)) {
        let chosen: Vec<&[I]> = part.iter().map(|&row| rows[row].as_slice()).collect();
        let indices: Vec<i64> = part.iter().map(|&row| row as i64).collect();
        let indices = to_device(&Tensor::f_from_slice(&indices)?, device)?;
        let _ = all.f_index_copy_(0, &indices, &tch::no_grad(|| compute(&chosen))?)?;
    }
    Ok(all)
}
