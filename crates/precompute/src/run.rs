//! The run: what is there already, the loop, the finished file.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use progress::{Progress, Unit};
use tch::Tensor;

use crate::ahead::{Batch, Decoded, at_the_model, for_each_batch};
use crate::encode::Encoding;
use crate::error::Error;
use crate::finished::{self, Embeddings};
use crate::normaliser::Normaliser;
use crate::partial::{self, Merged, PIECE_BATCHES, Partial, Piece};
use crate::plan::{Plan, Skipped, Summary};
use crate::previous::{FileVersion, Previous};
use crate::sources;

/// Embeds the plan's pictures with `encoder` and writes them to the plan's output.
///
/// `encoder` gets pixels `[batch, 3, n, n]` on the plan's device in its type, and gives
/// `[batch, dimension]`; it runs on the caller's thread, without gradients.
///
/// Of several processes each embeds the pieces that are its own, and the last to be done puts all
/// together; they need the folder of the output in common, and nothing else.
///
/// Finished batches are kept in the folder `OUTPUT.partial`. Killed at any moment, stopped by
/// `stop` (batches at the model are finished first) or out of disk space, the same call goes on
/// where it stopped, and ends with the same bytes as an uninterrupted one. A finished output of the
/// same plan is left as it is; another one is never overwritten.
///
/// Pictures whose contents have changed since they were embedded, in a finished output or in an
/// unfinished run, are embedded again with the rest of their batches, so that the bytes are those
/// of a run that begins now.
///
/// # Errors
/// All of [`Error`]; each names the file or pictures concerned, and what to do.
pub fn run<E>(
    plan: &Plan,
    mut encoder: impl FnMut(&Tensor) -> Result<Tensor, E>,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Summary, Error>
where
    E: std::error::Error + Send + Sync + 'static,
{
    plan.check()?;
    let replaces = FileVersion::of(plan.output);
    let previous = match look_for_output(plan, progress, stop)? {
        Found::Finished(summary) => return Ok(summary),
        Found::Changed(previous) => Some(previous),
        Found::Nothing => None,
    };
    let partial = Partial::open(plan, replaces)?;
    // Another process may have finished it meanwhile.
    if partial.is_finished() {
        return run(plan, encoder, progress, stop);
    }
    let mut share = Share::new(plan, &partial, previous.as_deref(), progress, stop)?;
    drop(previous);
    accept(plan, partial.folder(), &share.skipped)?;
    let (total, done) = (Some(share.total as u64), share.done as u64);
    progress.start("embedding pictures", Unit::Count("pictures"), total, done);
    let _no_grad = tch::no_grad_guard();
    let normaliser = Normaliser::new(
        &plan.identity.preprocessing,
        crate::kind_of(plan.identity.dtype),
        plan.device,
    )?;
    let decode = |picture, pixels: &mut [u8]| decode(plan, picture, pixels);
    let left = std::mem::take(&mut share.left);
    let mut at_work = AtWork::new(plan, &partial, &mut share, progress);
    for_each_batch(plan, left, decode, |batch| {
        if stop.load(Ordering::Relaxed) {
            at_work.finish_all()?;
            return Err(at_work.share.interrupted(&partial));
        }
        let started = refuse_corrupt(plan, &batch)
            .and_then(|()| Encoding::start(plan, batch, &normaliser, &mut encoder));
        match started {
            Ok(encoding) => at_work.add(encoding),
            Err(error) => {
                at_work.finish_all()?;
                Err(error)
            }
        }
    })?;
    at_work.finish_all()?;
    progress.finish();
    share.close()?;
    let (skipped, left) = match partial.merge()? {
        Merged::Finished(skipped) => (skipped, 0),
        Merged::Waiting(left) => (share.skipped, left),
        Merged::ByAnother => (Embeddings::open(plan.output)?.skipped().to_vec(), 0),
    };
    Ok(Summary {
        encoded: share.encoded,
        resumed: share.resumed_rows,
        skipped,
        changed: share.changed,
        already_finished: false,
        unrecorded: false,
        left,
    })
}

/// Batches at the model, to be kept in their order.
struct AtWork<'a, 'p> {
    plan: &'a Plan<'p>,
    partial: &'a Partial<'p>,
    share: &'a mut Share<'p>,
    progress: &'a mut dyn Progress,
    encodings: VecDeque<Encoding>,
}

impl<'a, 'p> AtWork<'a, 'p> {
    fn new(
        plan: &'a Plan<'p>,
        partial: &'a Partial<'p>,
        share: &'a mut Share<'p>,
        progress: &'a mut dyn Progress,
    ) -> Self {
        Self { plan, partial, share, progress, encodings: VecDeque::new() }
    }

    /// Adds a batch, and finishes the first where there are enough: returns that.
    fn add(&mut self, encoding: Encoding) -> Result<Option<Batch>, Error> {
        self.encodings.push_back(encoding);
        if self.encodings.len() < at_the_model(self.plan.device) {
            return Ok(None);
        }
        self.finish_first()
    }

    /// Waits for the first batch and keeps it.
    fn finish_first(&mut self) -> Result<Option<Batch>, Error> {
        let Some(encoding) = self.encodings.pop_front() else { return Ok(None) };
        let (batch, rows) = encoding.finish(self.plan)?;
        self.share.keep(self.partial, &batch, &rows)?;
        self.progress.position(self.share.done as u64);
        Ok(Some(batch))
    }

    fn finish_all(&mut self) -> Result<(), Error> {
        while self.finish_first()?.is_some() {}
        Ok(())
    }
}

/// The pieces of a run that are this process's.
struct Share<'p> {
    /// The batches that are not done.
    left: Vec<usize>,
    /// The piece that is worked on.
    piece: Option<Piece<'p>>,
    skipped: Vec<Skipped>,
    /// Pictures of all pieces.
    total: usize,
    /// Pictures that are encoded or skipped, by this run or an earlier one.
    done: usize,
    encoded: usize,
    resumed_rows: usize,
    /// Pictures that had changed since they were done.
    changed: Vec<usize>,
}

impl<'p> Share<'p> {
    /// Looks how far each of the pieces is, and which of their pictures have changed since.
    fn new(
        plan: &Plan,
        partial: &Partial<'p>,
        previous: Option<&Previous>,
        progress: &mut dyn Progress,
        stop: &AtomicBool,
    ) -> Result<Self, Error> {
        let mut share = Self {
            left: Vec::new(),
            piece: None,
            skipped: Vec::new(),
            total: 0,
            done: 0,
            encoded: 0,
            resumed_rows: 0,
            changed: previous.map(Previous::changed).unwrap_or_default(),
        };
        let mut compared = 0;
        for number in plan.place.share(partial.pieces()) {
            let mut piece = partial.piece(number)?;
            if let Some(previous) = previous {
                piece.take_over(previous)?;
            }
            let mut of_piece = 0;
            let comparing = |done, total| {
                of_piece = total;
                report_comparing(progress, compared, done, total);
            };
            let Some(changed) = piece.compare(comparing, stop)? else {
                return Err(share.interrupted(partial));
            };
            share.changed.extend(changed);
            compared += of_piece;
            share.left.extend(piece.left());
            share.skipped.extend(piece.skipped().cloned());
            share.resumed_rows += piece.rows();
            share.total += piece.pictures();
            share.done += piece.done();
            if share.piece.is_none() && !piece.left().is_empty() {
                share.piece = Some(piece);
            }
        }
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
        piece.append(batch, rows)?;
        self.encoded += batch.pictures.len();
        self.skipped.extend_from_slice(&batch.skipped);
        self.done += batch.pictures.len() + batch.skipped.len();
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
        Error::Interrupted { done: self.done, total: self.total, kept: partial.folder().to_owned() }
    }
}

/// Reports the comparison of `total` pictures, `done` of which are compared, after `before` others.
fn report_comparing(progress: &mut dyn Progress, before: usize, done: usize, total: usize) {
    if done > 0 {
        progress.position((before + done) as u64);
        return;
    }
    progress.note(&format!(
        "pictures whose files have another time of change than when they were embedded: {total}; comparing their contents"
    ));
    let (all, before) = (Some((before + total) as u64), before as u64);
    progress.start("comparing pictures", Unit::Count("pictures"), all, before);
}

/// Decodes and preprocesses a picture of the plan into `pixels`.
fn decode(plan: &Plan, picture: usize, pixels: &mut [u8]) -> Decoded {
    let file = plan.file(picture);
    let (source, bytes) = sources::read(&file);
    let decoded = bytes
        .and_then(|bytes| pictures::decode_bytes(&bytes, file.path()))
        .map(|decoded| plan.identity.preprocessing.planes_into(&decoded, pixels));
    // The reason alone: with the path in it, the file would depend on where the data set lies.
    (source, decoded.map_err(|error| error.problem.to_string()))
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

/// State of the plan's output.
enum Found {
    /// A finished file of this plan.
    Finished(Summary),
    /// A finished file of this plan, some of whose pictures have changed since.
    Changed(Box<Previous>),
    Nothing,
}

/// A finished output is what was asked for, or has to be brought up to date, or is in the way.
fn look_for_output(
    plan: &Plan,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Found, Error> {
    if !plan.output.exists() {
        return Ok(Found::Nothing);
    }
    let embeddings = Embeddings::open(plan.output)?;
    let differences = finished::differences(plan, &embeddings);
    if !differences.is_empty() {
        return Err(Error::OtherOutput { path: plan.output.to_owned(), differences });
    }
    let Some(recorded) = embeddings.sources(plan) else {
        return finished(plan, &embeddings, true);
    };
    let mut total = 0;
    let comparing = |done, all| {
        total = all;
        report_comparing(progress, 0, done, all);
    };
    let Some(previous) = Previous::compare(plan, embeddings, recorded, comparing, stop) else {
        return Err(Error::Interrupted { done: 0, total, kept: plan.output.to_owned() });
    };
    if !previous.changed().is_empty() {
        accept(plan, plan.output, &previous.still_skipped(plan))?;
        return Ok(Found::Changed(Box::new(previous)));
    }
    // One process is enough to write the file.
    if previous.touched && plan.place.rank == 0 {
        Embeddings::renew(&previous, plan)?;
    }
    finished(plan, &previous.embeddings, false)
}

fn finished(plan: &Plan, embeddings: &Embeddings, unrecorded: bool) -> Result<Found, Error> {
    accept(plan, plan.output, embeddings.skipped())?;
    // Left behind where a run was killed between its last two steps.
    partial::remove(plan.output)?;
    Ok(Found::Finished(Summary {
        encoded: 0,
        resumed: embeddings.names().len(),
        skipped: embeddings.skipped().to_vec(),
        changed: Vec::new(),
        already_finished: true,
        unrecorded,
        left: 0,
    }))
}
