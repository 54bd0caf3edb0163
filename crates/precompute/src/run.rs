//! The run: what is there already, the loop, the finished file.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::Tensor;

use crate::ahead::{Batch, for_each_batch};
use crate::encode::encode;
use crate::error::Error;
use crate::finished::{self, Embeddings};
use crate::partial::{self, Partial};
use crate::plan::{Plan, Progress, Skipped, Summary};

/// Embeds the plan's pictures with `encoder` and writes them to the plan's output.
///
/// `encoder` gets pixels `[batch, 3, n, n]` on the plan's device in its type, and gives
/// `[batch, dimension]`; it runs on the caller's thread, without gradients. `progress` is called
/// before the first batch and after each.
///
/// Finished batches are kept in the folder `OUTPUT.partial`. Killed at any moment, stopped by
/// `stop` (the batch at hand is finished first) or out of disk space, the same call goes on where it
/// stopped, and ends with the same bytes as an uninterrupted one. A finished output of the same plan
/// is left as it is; another one is never overwritten.
///
/// # Errors
/// All of [`Error`]; each names the file or pictures concerned, and what to do.
pub fn run<E>(
    plan: &Plan,
    mut encoder: impl FnMut(&Tensor) -> Result<Tensor, E>,
    mut progress: impl FnMut(Progress),
    stop: &AtomicBool,
) -> Result<Summary, Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    plan.check()?;
    if plan.output.exists() {
        return already_finished(plan);
    }
    let mut partial = Partial::open(plan)?;
    // Another process may have finished it while the lock was not ours yet.
    if plan.output.exists() {
        drop(partial);
        return already_finished(plan);
    }
    accept(plan, partial.folder(), partial.skipped())?;
    let (resumed_rows, resumed) = (partial.rows(), partial.done());
    let at = |partial: &Partial| Progress {
        total: plan.pictures.len(),
        done: partial.done(),
        resumed,
        skipped: partial.skipped().len(),
    };
    progress(at(&partial));
    let _no_grad = tch::no_grad_guard();
    let decode = |picture, pixels: &mut [f32]| decode(plan, picture, pixels);
    for_each_batch(plan, partial.batches(), decode, |batch| {
        if stop.load(Ordering::Relaxed) {
            return Err(interrupted(plan, &mut partial));
        }
        refuse_corrupt(plan, batch)?;
        let rows = encode(plan, batch, &mut encoder)?;
        partial.append(&rows, &batch.skipped)?;
        progress(at(&partial));
        Ok(())
    })?;
    let rows = partial.rows();
    if rows == 0 {
        return Err(Error::NothingLeft(plan.pictures.len()));
    }
    let skipped = partial.finish()?;
    Ok(Summary {
        encoded: rows - resumed_rows,
        resumed: resumed_rows,
        skipped,
        already_finished: false,
    })
}

/// Decodes and preprocesses a picture of the plan into `pixels`.
fn decode(plan: &Plan, picture: usize, pixels: &mut [f32]) -> Result<(), String> {
    // The reason alone: with the path in it, the file would depend on where the data set lies.
    let decoded =
        flickr::decode(&plan.pictures[picture].path).map_err(|error| error.problem.to_string())?;
    plan.identity.preprocessing.apply_into(&decoded, pixels);
    Ok(())
}

fn refuse_corrupt(plan: &Plan, batch: &Batch) -> Result<(), Error> {
    if batch.skipped.is_empty() || plan.skip_corrupt {
        return Ok(());
    }
    Err(Error::Pictures(batch.skipped.clone()))
}

/// What an earlier run skipped must be allowed in this one.
fn accept(plan: &Plan, path: &Path, skipped: &[Skipped]) -> Result<(), Error> {
    if skipped.is_empty() || plan.skip_corrupt {
        return Ok(());
    }
    Err(Error::LeavesOut { path: path.to_owned(), skipped: skipped.to_vec() })
}

fn interrupted(plan: &Plan, partial: &mut Partial) -> Error {
    if let Err(error) = partial.sync() {
        return error;
    }
    Error::Interrupted {
        done: partial.done(),
        total: plan.pictures.len(),
        kept: partial.folder().to_owned(),
    }
}

/// A finished output is what was asked for, or in the way.
fn already_finished(plan: &Plan) -> Result<Summary, Error> {
    let embeddings = Embeddings::open(plan.output)?;
    let differences = finished::differences(plan, &embeddings);
    if !differences.is_empty() {
        return Err(Error::OtherOutput { path: plan.output.to_owned(), differences });
    }
    accept(plan, plan.output, embeddings.skipped())?;
    // Left behind where a run was killed between its last two steps.
    partial::remove(plan.output)?;
    Ok(Summary {
        encoded: 0,
        resumed: embeddings.names().len(),
        skipped: embeddings.skipped().to_vec(),
        already_finished: true,
    })
}
