//! Plan, progress and summary of a run.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use foreign_text::{printable, printable_path};
use launchers::ProcessRank;
use pictures::{PictureFile, Preprocessing};
use runs::Identity;
use tch::Device;

use crate::error::Error;
use crate::skipped::Skipped;

/// Returns the file of an image, given its index in the list and its name.
pub type Find<'a> = Box<dyn Fn(usize, &str) -> PictureFile + Sync + 'a>;

/// Images to embed, the settings and the output file.
pub struct Plan<'a> {
    /// Unique names of the images, in the order of the rows; they identify embeddings.
    pub names: Vec<String>,
    /// Finds the file of each image.
    pub find: Find<'a>,
    /// Identity of the embeddings, written into the file.
    pub identity: Identity,
    /// Device of the model.
    pub device: Device,
    /// Images in a batch. It changes the last bits of results, so a resumed run must keep it.
    pub batch_size: usize,
    /// Leaves out images that cannot be decoded; otherwise the first of them is an error.
    pub skip_corrupt: bool,
    /// Rank of this process and number of processes that share the work.
    pub process: ProcessRank,
    /// File to write.
    pub output: &'a Path,
}

impl Plan<'_> {
    /// Checks that the plan can be carried out.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let impossible = |reason: &str| Err(Error::Plan(reason.to_owned()));
        if self.names.is_empty() {
            return impossible("there are no pictures to embed");
        }
        if self.batch_size == 0 {
            return impossible("the batch size must be at least 1");
        }
        if self.identity.dimension == 0 {
            return impossible("an embedding has at least one value");
        }
        if self.identity.preprocessing.is_none() {
            return impossible("pictures cannot be embedded without their preprocessing");
        }
        if self.output.file_name().is_none() {
            return impossible(&format!(
                "{} is not the name of a file",
                printable_path(self.output)
            ));
        }
        let mut names = HashSet::new();
        match self.names.iter().find(|name| !names.insert(name.as_str())) {
            Some(twice) => {
                impossible(&format!("the data set has the picture {} twice", printable(twice)))
            }
            None => Ok(()),
        }
    }

    /// Returns the preprocessing of the pixels.
    ///
    /// # Panics
    /// Panics if the identity has none, which [`Self::check`] refuses.
    pub(crate) fn preprocessing(&self) -> &Preprocessing {
        self.identity.preprocessing.as_ref().expect("`check` refuses a plan without it")
    }

    /// Returns the file of an image of the list.
    pub(crate) fn file(&self, picture: usize) -> PictureFile {
        (self.find)(picture, &self.names[picture])
    }

    /// Returns the number of batches.
    pub(crate) fn batches(&self) -> usize {
        self.names.len().div_ceil(self.batch_size)
    }

    /// Returns the images of a batch, as indices in the list; empty past the end.
    pub(crate) fn batch(&self, index: usize) -> Range<usize> {
        let bound = |batch: usize| batch.saturating_mul(self.batch_size).min(self.names.len());
        bound(index)..bound(index.saturating_add(1))
    }

    /// Returns the number of pieces that processes share.
    pub(crate) fn pieces(&self) -> usize {
        self.batches().div_ceil(self.piece_batches())
    }

    /// Returns the number of batches in a piece: about 1,024 images, saved as one file.
    fn piece_batches(&self) -> usize {
        (1024 / self.batch_size).clamp(1, 32)
    }

    /// Returns the piece of a batch.
    pub(crate) fn piece_of(&self, batch: usize) -> usize {
        batch / self.piece_batches()
    }

    /// Returns the batches of a piece.
    pub(crate) fn batches_of_piece(&self, piece: usize) -> Range<usize> {
        let first = piece * self.piece_batches();
        first..(first + self.piece_batches()).min(self.batches())
    }

    /// Returns the images of a piece, as indices in the list.
    pub(crate) fn images_of_piece(&self, piece: usize) -> Range<usize> {
        let Range { start, end } = self.batches_of_piece(piece);
        self.batch(start).start..self.batch(end).start
    }
}

/// Summary of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Embeddings computed by this run.
    pub encoded: usize,
    /// Embeddings computed by an earlier run.
    pub resumed: usize,
    /// Images without an embedding, in the order of the plan.
    pub skipped: Vec<Skipped>,
    /// Images that changed since an earlier run, as indices in the plan's list.
    ///
    /// Their batches were encoded again.
    pub changed: Vec<usize>,
    /// True if the output was finished before and no image has changed since.
    pub already_finished: bool,
    /// True if the output has no record of its images' files, which hides changes.
    pub unrecorded: bool,
    /// Images of other processes that are not done: the last process writes the output.
    pub left: usize,
}
