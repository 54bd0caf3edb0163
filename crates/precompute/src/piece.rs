//! Pieces of an unfinished run: some batches each, shared by processes and resumed after a stop.
//!
//! The folder `OUTPUT.partial` ([`durable::kept::Pieces`]) holds a file of embeddings for each
//! piece, in the format of the finished file and with the batches done so far. A piece is written
//! again as a whole, at most once per second: a killed process loses that much work, and a damaged
//! piece is encoded again. Pieces do not depend on the number of processes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use durable::Lock;
use durable::kept::{Key, Pieces};

use crate::contents::{Contents, EncodedBatch};
use crate::error::Error;
use crate::file_writer::{self, Blocks};
use crate::finished::Embeddings;
use crate::plan::Plan;
use crate::skipped::Skipped;

/// Work that a killed process may lose.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// File name of the output while it is written.
const FINISHED: &str = "finished";
/// Description of an unfinished run of version 0.1.0.
const OLD_KEY: &str = "run.json";

/// Opens the folder of an unfinished run, or creates it.
///
/// # Errors
/// Fails if the folder belongs to a run with other settings, or to one of version 0.1.0.
pub(crate) fn open_pieces(plan: &Plan) -> Result<Pieces, Error> {
    let folder = Pieces::folder_of(plan.output);
    let old = folder.join(OLD_KEY);
    if old.exists() {
        return Err(Error::Damaged {
            path: old,
            reason: "is of an unfinished run of capsmith 0.1.0, which this version cannot resume"
                .to_owned(),
            hint: "finish it with that version, or remove the folder it lies in to start over",
        });
    }
    let key = Key::new([
        ("batch size", plan.batch_size.to_string()),
        ("pictures", plan.names.len().to_string()),
    ]);
    let key = key.with_digest("picture names (sha256)", &plan.names).and(plan.identity.key());
    Ok(Pieces::open(&folder, &key)?)
}

/// Batches of an unfinished run, locked for this process.
pub(crate) struct Piece<'p> {
    plan: &'p Plan<'p>,
    pub(crate) number: usize,
    path: PathBuf,
    batches: BTreeMap<usize, EncodedBatch>,
    /// Images in its file.
    saved: usize,
    /// True if the file holds all of the piece's batches.
    is_saved: bool,
    saved_at: Option<Instant>,
    _lock: Lock,
}

impl<'p> Piece<'p> {
    /// Opens a piece as it was saved.
    ///
    /// # Errors
    /// Fails if another process works on it.
    pub(crate) fn open(plan: &'p Plan<'p>, pieces: &Pieces, number: usize) -> Result<Self, Error> {
        let mut piece = Self::claim(plan, pieces, number)?;
        if let Ok(saved) = Embeddings::open(&piece.path) {
            piece.copy_batches_of(&saved)?;
            (piece.saved, piece.is_saved) = (piece.done(), true);
        }
        Ok(piece)
    }

    /// Opens a piece and forgets the batches with images that have changed since.
    ///
    /// Takes missing batches from `previous`, an earlier output whose changed images are forgotten.
    /// Returns the changed images too, or `None` if `stop` was raised.
    pub(crate) fn open_compared(
        plan: &'p Plan<'p>,
        pieces: &Pieces,
        number: usize,
        previous: Option<&Embeddings>,
        progress: impl FnMut(usize, usize),
        stop: &AtomicBool,
    ) -> Result<Option<(Self, Vec<usize>)>, Error> {
        let mut piece = Self::claim(plan, pieces, number)?;
        let mut changed = Vec::new();
        if let Ok(mut saved) = Embeddings::open(&piece.path) {
            let Some(compared) = saved.compare(plan, piece.images(), progress, stop) else {
                return Ok(None);
            };
            piece.copy_batches_of(&saved)?;
            piece.saved = piece.done();
            piece.is_saved = !compared.touched && compared.changed.is_empty();
            changed = compared.changed;
        }
        if let Some(previous) = previous {
            piece.copy_batches_of(previous)?;
        }
        Ok(Some((piece, changed)))
    }

    fn claim(plan: &'p Plan<'p>, pieces: &Pieces, number: usize) -> Result<Self, Error> {
        Ok(Self {
            plan,
            number,
            batches: BTreeMap::new(),
            saved: 0,
            is_saved: true,
            saved_at: None,
            _lock: pieces.claim(number)?,
            path: pieces.path(number, "safetensors"),
        })
    }

    /// Copies the batches that are missing here and complete in `from`.
    fn copy_batches_of(&mut self, from: &Embeddings) -> Result<(), Error> {
        for index in self.left() {
            if let Some(batch) = from.batch(self.plan, index)? {
                self.batches.insert(index, batch);
                self.is_saved = false;
            }
        }
        Ok(())
    }

    /// Adds a batch, and saves the piece if the last time is long ago.
    ///
    /// The first batch is saved at once: a disk that cannot be written to is noticed early.
    pub(crate) fn add(&mut self, index: usize, batch: EncodedBatch) -> Result<(), Error> {
        self.batches.insert(index, batch);
        self.is_saved = false;
        match self.saved_at {
            Some(time) if time.elapsed() < SAVE_EVERY => Ok(()),
            _ => self.save(),
        }
    }

    /// Writes the piece's file if it lacks a batch.
    pub(crate) fn save(&mut self) -> Result<(), Error> {
        if self.is_saved {
            return Ok(());
        }
        let rows = || Blocks::new(self.batches.values().map(|batch| Ok(batch.rows.clone())));
        file_writer::write(&self.path, &self.plan.identity, &self.contents(), rows)
            .map_err(|error| Error::keep(error, &self.path, self.saved))?;
        (self.is_saved, self.saved, self.saved_at) = (true, self.done(), Some(Instant::now()));
        Ok(())
    }

    /// Returns names, skipped images and files of its batches.
    fn contents(&self) -> Contents {
        let mut all = Contents::default();
        self.batches.values().for_each(|batch| all.append(batch.contents.clone()));
        all
    }

    /// Returns the batches that are not done.
    pub(crate) fn left(&self) -> Vec<usize> {
        let all = self.plan.batches_of_piece(self.number);
        all.filter(|index| !self.batches.contains_key(index)).collect()
    }

    /// Returns its images, as indices in the plan's list.
    pub(crate) fn images(&self) -> Range<usize> {
        self.plan.images_of_piece(self.number)
    }

    /// Returns the number of embeddings so far.
    pub(crate) fn rows(&self) -> usize {
        self.batches.values().map(|batch| batch.contents.names.len()).sum()
    }

    /// Returns the number of images so far, skipped ones included.
    pub(crate) fn done(&self) -> usize {
        self.rows() + self.skipped().count()
    }

    /// Returns the images skipped so far.
    pub(crate) fn skipped(&self) -> impl Iterator<Item = &Skipped> {
        self.batches.values().flat_map(|batch| &batch.contents.skipped)
    }
}

/// Result of merging the pieces of a run.
pub(crate) enum Merged {
    /// The output is written; these images have no row.
    Finished(Vec<Skipped>),
    /// Another process has written the output.
    ByAnother,
    /// Number of images of other processes that are not done.
    Waiting(usize),
}

/// Merges all pieces into the output and removes the folder, if all are done.
///
/// This process must not hold the lock of a piece.
pub(crate) fn merge(plan: &Plan, pieces: Pieces) -> Result<Merged, Error> {
    let Some(lock) = pieces.lock()? else { return Ok(Merged::ByAnother) };
    let (mut all, mut left) = (Contents::default(), 0);
    for number in 0..plan.pieces() {
        match Piece::open(plan, &pieces, number) {
            Ok(piece) => {
                left += piece.images().len() - piece.done();
                all.append(piece.contents());
            }
            // Another process works on it.
            Err(Error::File(durable::Error::Locked(_))) => {
                left += plan.images_of_piece(number).len();
            }
            Err(error) => return Err(error),
        }
    }
    if left > 0 {
        return Ok(Merged::Waiting(left));
    }
    if all.names.is_empty() {
        return Err(Error::NothingLeft(all.skipped.len()));
    }
    // Piece after piece: memory does not grow with the data set.
    let rows = |number| Embeddings::open(&pieces.path(number, "safetensors"))?.all_values();
    // Written in this folder first: a killed process leaves nothing next to the output.
    let finished = pieces.folder().join(FINISHED);
    let blocks = || Blocks::new((0..plan.pieces()).map(rows));
    file_writer::write(&finished, &plan.identity, &all, blocks)
        .map_err(|error| Error::keep(error, &finished, plan.names.len()))?;
    durable::replace(&finished, plan.output)?;
    pieces.remove(lock)?;
    Ok(Merged::Finished(all.skipped))
}
