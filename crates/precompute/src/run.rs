//! The run: what is there already, the loop, the finished file.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tch::Tensor;

use crate::ahead::{Batch, for_each_batch};
use crate::encode::encode;
use crate::error::Error;
use crate::finished::{self, Embeddings};
use crate::partial::{self, Merged, PIECE_BATCHES, Partial, Piece};
use crate::plan::{Plan, Progress, Skipped, Summary};

/// Embeds the plan's pictures with `encoder` and writes them to the plan's output.
///
/// `encoder` gets pixels `[batch, 3, n, n]` on the plan's device in its type, and gives
/// `[batch, dimension]`; it runs on the caller's thread, without gradients. `progress` is called
/// before the first batch and after each.
///
/// Of several processes each embeds the pieces that are its own, and the last to be done puts all
/// together; they need the folder of the output in common, and nothing else.
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
    let partial = Partial::open(plan)?;
    // Another process may have finished it meanwhile.
    if plan.output.exists() {
        return already_finished(plan);
    }
    let mut share = Share::new(plan, &partial)?;
    accept(plan, partial.folder(), &share.skipped)?;
    progress(share.progress);
    let _no_grad = tch::no_grad_guard();
    let decode = |picture, pixels: &mut [f32]| decode(plan, picture, pixels);
    for_each_batch(plan, std::mem::take(&mut share.left), decode, |batch| {
        if stop.load(Ordering::Relaxed) {
            return Err(share.interrupted(&partial));
        }
        refuse_corrupt(plan, batch)?;
        let rows = encode(plan, batch, &mut encoder)?;
        share.keep(&partial, batch, &rows)?;
        progress(share.progress);
        Ok(())
    })?;
    share.close()?;
    let (encoded, resumed) = (share.encoded, share.resumed_rows);
    let summary =
        |skipped, left| Summary { encoded, resumed, skipped, already_finished: false, left };
    match partial.merge()? {
        Merged::Finished(skipped) => Ok(summary(skipped, 0)),
        Merged::Waiting(left) => Ok(summary(share.skipped, left)),
        Merged::ByAnother => Ok(summary(Embeddings::open(plan.output)?.skipped().to_vec(), 0)),
    }
}

/// The pieces of a run that are this process's.
struct Share<'p> {
    /// The batches that are not done.
    left: Vec<usize>,
    /// The piece that is worked on.
    piece: Option<Piece<'p>>,
    skipped: Vec<Skipped>,
    progress: Progress,
    encoded: usize,
    resumed_rows: usize,
}

impl<'p> Share<'p> {
    /// Looks how far each of the pieces is.
    fn new(plan: &Plan, partial: &Partial<'p>) -> Result<Self, Error> {
        let progress = Progress { total: 0, done: 0, resumed: 0, skipped: 0 };
        let mut share = Self {
            left: Vec::new(),
            piece: None,
            skipped: Vec::new(),
            progress,
            encoded: 0,
            resumed_rows: 0,
        };
        for number in plan.place.share(partial.pieces()) {
            let piece = partial.piece(number)?;
            share.left.extend(piece.left());
            share.skipped.extend_from_slice(piece.skipped());
            share.resumed_rows += piece.rows();
            share.progress.total += piece.pictures();
            share.progress.done += piece.done();
            if share.piece.is_none() && !piece.left().is_empty() {
                share.piece = Some(piece);
            }
        }
        share.progress.resumed = share.progress.done;
        share.progress.skipped = share.skipped.len();
        Ok(share)
    }

    /// Keeps a batch in the piece that it is of.
    fn keep(&mut self, partial: &Partial<'p>, batch: &Batch, rows: &[f32]) -> Result<(), Error> {
        let number = batch.index / PIECE_BATCHES;
        let piece = match self.piece.take() {
            Some(piece) if piece.number() == number => piece,
            other => {
                if let Some(mut done) = other {
                    done.sync()?;
                }
                partial.piece(number)?
            }
        };
        let piece = self.piece.insert(piece);
        piece.append(rows, &batch.skipped)?;
        self.encoded += batch.pictures.len();
        self.skipped.extend_from_slice(&batch.skipped);
        self.progress.done += batch.pictures.len() + batch.skipped.len();
        self.progress.skipped = self.skipped.len();
        Ok(())
    }

    /// Leaves the piece that was worked on.
    fn close(&mut self) -> Result<(), Error> {
        self.piece.take().map_or(Ok(()), |mut piece| piece.sync())
    }

    fn interrupted(&mut self, partial: &Partial) -> Error {
        if let Err(error) = self.close() {
            return error;
        }
        Error::Interrupted {
            done: self.progress.done,
            total: self.progress.total,
            kept: partial.folder().to_owned(),
        }
    }
}

/// Decodes and preprocesses a picture of the plan into `pixels`.
fn decode(plan: &Plan, picture: usize, pixels: &mut [f32]) -> Result<(), String> {
    // The reason alone: with the path in it, the file would depend on where the data set lies.
    let file = (plan.find)(picture, &plan.names[picture]);
    let decoded = file.decode().map_err(|error| error.problem.to_string())?;
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
        left: 0,
    })
}
