//! Run of a plan: finds finished batches, encodes the others and writes the output.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use durable::kept::{self, Pieces};
use progress::{Progress, Unit};
use tch::Tensor;

use crate::ahead::{Batch, Decoded, at_the_model, for_each_batch};
use crate::contents::EncodedBatch;
use crate::encode::Encoding;
use crate::error::Error;
use crate::finished::{self, Embeddings};
use crate::normaliser::Normaliser;
use crate::piece::{Merged, Piece, merge, open_pieces};
use crate::plan::{Plan, Summary};
use crate::skipped::Skipped;
use crate::sources;

/// Embeds the plan's images with `encoder` and writes them to the plan's output.
///
/// `encoder` gets pixels `[batch, 3, n, n]` on the plan's device in its type, and returns
/// `[batch, dimension]`. It runs on the caller's thread, without gradients.
///
/// Each of several processes embeds its own pieces, and the last to finish merges all of them. They
/// share only the folder of the output.
///
/// Finished batches are kept in the folder `OUTPUT.partial`. After a kill, a stop by `stop`
/// (batches at the model are finished first) or a full disk, the same call resumes and ends with
/// the same bytes as an uninterrupted one. A finished output of the same plan stays unchanged;
/// an output of another plan is never overwritten.
///
/// Images whose contents have changed since they were embedded, in a finished output or in an
/// unfinished run, are embedded again with the rest of their batches. The bytes are those of a run
/// that begins now.
///
/// # Errors
/// All of [`Error`]; each names the file or images concerned, and what to do.
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
    let version = || fs::metadata(plan.output).ok().map(|file| (file.len(), file.modified().ok()));
    let before = version();
    let previous = match find_output(plan, progress, stop)? {
        Found::Finished(summary) => return Ok(summary),
        Found::Changed(previous, changed) => Some((previous, changed)),
        Found::Nothing => None,
    };
    let pieces = open_pieces(plan)?;
    // Another process may have finished it meanwhile.
    if version() != before {
        drop(pieces);
        return run(plan, encoder, progress, stop);
    }
    let mut share = Share::new(plan, &pieces, previous, progress, stop)?;
    accept(plan, pieces.folder(), &share.skipped)?;
    let (total, done) = (Some(share.total as u64), share.done as u64);
    progress.start("embedding pictures", Unit::Count("pictures"), total, done);
    let _no_grad = tch::no_grad_guard();
    let normaliser =
        Normaliser::new(plan.preprocessing(), crate::kind_of(plan.identity.dtype), plan.device)?;
    let decode = |image, pixels: &mut [u8]| decode(plan, image, pixels);
    let left = std::mem::take(&mut share.left);
    let mut at_model = BatchesAtModel { share: &mut share, progress, encodings: VecDeque::new() };
    let walked = for_each_batch(plan, left, decode, |batch| {
        if stop.load(Ordering::Relaxed) {
            at_model.finish_all()?;
            return Err(at_model.share.interrupted());
        }
        let started = refuse_corrupt(plan, &batch)
            .and_then(|()| Encoding::start(plan, batch, &normaliser, &mut encoder));
        match started {
            Ok(encoding) => at_model.add(encoding),
            Err(error) => {
                at_model.finish_all()?;
                Err(error)
            }
        }
    });
    let walked = walked.and_then(|()| at_model.finish_all());
    // After an error too, the batches since the last save are kept.
    let closed = share.close();
    walked.and(closed)?;
    progress.finish();
    let Share { skipped, encoded, resumed_rows: resumed, changed, .. } = share;
    let (skipped, left) = match merge(plan, pieces)? {
        Merged::Finished(skipped) => (skipped, 0),
        Merged::Waiting(left) => (skipped, left),
        Merged::ByAnother => (Embeddings::open(plan.output)?.skipped().to_vec(), 0),
    };
    let (already_finished, unrecorded) = (false, false);
    Ok(Summary { encoded, resumed, skipped, changed, already_finished, unrecorded, left })
}

/// Batches at the model, finished in their order.
struct BatchesAtModel<'a, 'p> {
    share: &'a mut Share<'p>,
    progress: &'a mut dyn Progress,
    encodings: VecDeque<Encoding>,
}

impl BatchesAtModel<'_, '_> {
    /// Adds a batch. Finishes and returns the first one if there are enough.
    fn add(&mut self, encoding: Encoding) -> Result<Option<Batch>, Error> {
        self.encodings.push_back(encoding);
        if self.encodings.len() < at_the_model(self.share.plan.device) {
            return Ok(None);
        }
        self.finish_first()
    }

    /// Waits for the first batch and adds it to its piece.
    fn finish_first(&mut self) -> Result<Option<Batch>, Error> {
        let Some(encoding) = self.encodings.pop_front() else { return Ok(None) };
        let (batch, rows) = encoding.finish(self.share.plan)?;
        self.share.add(&batch, rows)?;
        self.progress.position(self.share.done as u64);
        Ok(Some(batch))
    }

    fn finish_all(&mut self) -> Result<(), Error> {
        while self.finish_first()?.is_some() {}
        Ok(())
    }
}

/// Pieces of a run that belong to this process.
struct Share<'p> {
    plan: &'p Plan<'p>,
    pieces: &'p Pieces,
    /// Batches that are not done.
    left: Vec<usize>,
    /// Piece at work.
    piece: Option<Piece<'p>>,
    skipped: Vec<Skipped>,
    /// Pictures of all pieces.
    total: usize,
    /// Pictures that are encoded or skipped, by this run or an earlier one.
    done: usize,
    encoded: usize,
    resumed_rows: usize,
    /// Images that had changed since they were embedded.
    changed: Vec<usize>,
}

impl<'p> Share<'p> {
    /// Reads the state of each piece, and finds its images that have changed since.
    fn new(
        plan: &'p Plan<'p>,
        pieces: &'p Pieces,
        previous: Option<(Box<Embeddings>, Vec<usize>)>,
        progress: &mut dyn Progress,
        stop: &AtomicBool,
    ) -> Result<Self, Error> {
        let (previous, changed) = previous.unzip();
        let mut share = Self {
            plan,
            pieces,
            left: Vec::new(),
            piece: None,
            skipped: Vec::new(),
            total: 0,
            done: 0,
            encoded: 0,
            resumed_rows: 0,
            changed: changed.unwrap_or_default(),
        };
        let mut compared = 0;
        for number in plan.process.shard(plan.pieces()) {
            let mut of_piece = 0;
            let comparing = |done, total| {
                of_piece = total;
                report_comparing(progress, compared, done, total);
            };
            let previous = previous.as_deref();
            let opened = Piece::open_compared(plan, pieces, number, previous, comparing, stop)?;
            let Some((mut piece, changed)) = opened else { return Err(share.interrupted()) };
            piece.save()?;
            share.changed.extend(changed);
            compared += of_piece;
            share.left.extend(piece.left());
            share.skipped.extend(piece.skipped().cloned());
            share.resumed_rows += piece.rows();
            share.total += piece.images().len();
            share.done += piece.done();
            if share.piece.is_none() && !piece.left().is_empty() {
                share.piece = Some(piece);
            }
        }
        Ok(share)
    }

    /// Adds a batch to its piece.
    fn add(&mut self, batch: &Batch, rows: Vec<f32>) -> Result<(), Error> {
        let number = self.plan.piece_of(batch.index);
        if self.piece.as_ref().is_none_or(|piece| piece.number != number) {
            self.close()?;
        }
        let piece = match self.piece.take() {
            Some(piece) => piece,
            None => Piece::open(self.plan, self.pieces, number)?,
        };
        let piece = self.piece.insert(piece);
        piece.add(batch.index, EncodedBatch::new(self.plan, batch, rows))?;
        self.encoded += batch.pictures.len();
        self.skipped.extend_from_slice(&batch.skipped);
        self.done += batch.pictures.len() + batch.skipped.len();
        Ok(())
    }

    /// Saves the piece at work and releases it.
    fn close(&mut self) -> Result<(), Error> {
        self.piece.take().map_or(Ok(()), |mut piece| piece.save())
    }

    fn interrupted(&mut self) -> Error {
        if let Err(error) = self.close() {
            return error;
        }
        let (done, total) = (self.done, self.total);
        Error::Interrupted { done, total, kept: self.pieces.folder().to_owned() }
    }
}

/// Reports that `done` of `total` images are compared, after `before` others.
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

/// Decodes and preprocesses an image of the plan into `pixels`.
fn decode(plan: &Plan, image: usize, pixels: &mut [u8]) -> Decoded {
    let file = plan.file(image);
    let (source, bytes) = sources::read(&file);
    let decoded = bytes
        .and_then(|bytes| {
            let decoded = pictures::decode_bytes(&bytes, file.path())?;
            Ok(if plan.identity.upright { decoded.upright(&bytes) } else { decoded })
        })
        .map(|decoded| plan.preprocessing().planes_into(&decoded, pixels));
    // Without the path, which would make the file depend on the data set's folder.
    (source, decoded.map_err(|error| error.problem.to_string()))
}

fn refuse_corrupt(plan: &Plan, batch: &Batch) -> Result<(), Error> {
    if batch.skipped.is_empty() || plan.skip_corrupt {
        return Ok(());
    }
    Err(Error::Pictures(batch.skipped.clone()))
}

/// Refuses images that an earlier run skipped unless this one may skip them too.
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
    /// A finished file of this plan without the images that have changed since, and their indices.
    Changed(Box<Embeddings>, Vec<usize>),
    /// No file.
    Nothing,
}

/// Finds a finished output and compares it with the plan and the present images.
fn find_output(
    plan: &Plan,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Found, Error> {
    if !plan.output.exists() {
        return Ok(Found::Nothing);
    }
    let mut embeddings = Embeddings::open(plan.output)?;
    let differences = finished::differences(plan, &embeddings);
    if !differences.is_empty() {
        return Err(Error::OtherOutput { path: plan.output.to_owned(), differences });
    }
    let mut total = 0;
    let comparing = |done, all| {
        total = all;
        report_comparing(progress, 0, done, all);
    };
    let Some(compared) = embeddings.compare(plan, 0..plan.names.len(), comparing, stop) else {
        return Err(Error::Interrupted { done: 0, total, kept: plan.output.to_owned() });
    };
    accept(plan, plan.output, &embeddings.still_skipped())?;
    if !compared.changed.is_empty() {
        return Ok(Found::Changed(Box::new(embeddings), compared.changed));
    }
    // One process is enough to write the file.
    if compared.touched && plan.process.rank == 0 {
        embeddings.rewrite()?;
    }
    // A run that was killed between its last two steps leaves its pieces.
    kept::remove_leftover(&Pieces::folder_of(plan.output))?;
    Ok(Found::Finished(Summary {
        encoded: 0,
        resumed: embeddings.names().len(),
        skipped: embeddings.skipped().to_vec(),
        changed: Vec::new(),
        already_finished: true,
        unrecorded: !embeddings.is_recorded(),
        left: 0,
    }))
}
