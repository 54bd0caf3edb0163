//! Captions of a split, written in pieces that processes share, and then merged into one file.
//!
//! The pieces are [`durable::kept::Pieces`] next to the evaluation. A killed process loses only its
//! current piece, and a late process finds all captions finished. Damaged files are rewritten.

use std::ops::Range;
use std::path::{Path, PathBuf};

use durable::kept::{self, Key, Pieces};
use durable::sealed::SealError;
use foreign_text::printable_path;
use launchers::ProcessRank;
use progress::{Part, Progress, Unit};

use crate::captioner::Captioner;
use crate::captions::{Caption, ImageInputs};
use crate::error::Error;

/// Images in a piece, unless a batch has more.
const PIECE_IMAGES: usize = 256;

/// Captions of each image.
type Captions = Vec<Vec<Caption>>;

/// Pieces to merge into one file, and the lock that is held until then.
pub(crate) type Merging = (Pieces, durable::Lock);

/// Captions that are written, as far as this process is concerned.
pub(crate) enum Written {
    /// All captions, and their pieces if they are not merged yet.
    All(Captions, Option<Merging>),
    /// Number of images that still lack captions; 0 if another process merges and scores them.
    Left(usize),
}

/// Captions of a split in files.
pub(crate) struct CaptionFiles {
    out: PathBuf,
    /// File of all captions, once they are scored.
    file: PathBuf,
    key: Key,
    /// Images of each piece.
    ranges: Vec<Range<usize>>,
}

impl CaptionFiles {
    /// Returns the caption files of these images for an evaluation in `out`.
    pub(crate) fn new(out: &Path, captioner: &Captioner, pictures: &ImageInputs, key: Key) -> Self {
        let batch_size =
            captioner.config.decoding.caption_batch_size(pictures.embeddings.device().is_cuda());
        let size = PIECE_IMAGES.next_multiple_of(batch_size);
        let count = pictures.numbers.len();
        let ranges = (0..count).step_by(size).map(|first| first..count.min(first + size));
        let file = out.join("captions.json");
        Self { out: out.to_owned(), file, key, ranges: ranges.collect() }
    }

    /// Reads the file of all captions; `None` if it has other captions or is damaged.
    pub(crate) fn finished(&self) -> Option<Captions> {
        kept::read_json(&self.file, &self.key).ok()?
    }

    /// Returns all captions, those that are missing written by this and other processes.
    ///
    /// # Errors
    /// Names a file that cannot be read or written.
    pub(crate) fn written(
        &self,
        captioner: &Captioner,
        images: &ImageInputs,
        process: ProcessRank,
        progress: &mut dyn Progress,
    ) -> Result<Written, Error> {
        let file = printable_path(&self.file);
        if let Some(captions) = self.finished() {
            progress.note(&format!("reusing the captions in {file}"));
            return Ok(Written::All(captions, None));
        }
        if let Some(error) = self.damage() {
            progress.note(&format!("{file} {error}: captioning again"));
        }
        let Some(pieces) = self.write(captioner, images, process, progress)? else {
            return Ok(Written::Left(self.all().err().unwrap_or_default()));
        };
        // There is no lock if another process has scored all captions.
        let Some(lock) = pieces.lock()? else { return Ok(Written::Left(0)) };
        Ok(match self.all() {
            Ok(captions) => Written::All(captions, Some((pieces, lock))),
            Err(missing) => Written::Left(missing),
        })
    }

    /// Returns the damage of the file of all captions, if any.
    ///
    /// Returns `None` for a file of other captions.
    fn damage(&self) -> Option<SealError> {
        let read = kept::read_json::<Captions>(&self.file, &self.key);
        read.err().filter(|_| self.file.exists())
    }

    fn folder(&self) -> PathBuf {
        Pieces::folder_of_key(&self.out, &self.key)
    }

    fn piece(&self, piece: usize) -> Option<Captions> {
        let path = kept::piece_path(&self.folder(), piece, "json");
        let captions: Captions = kept::read_json(&path, &self.key).ok()??;
        (captions.len() == self.ranges[piece].len()).then_some(captions)
    }

    /// Writes the missing captions of this process's pieces.
    ///
    /// Returns `None` if this process has no pieces, so nothing to merge.
    fn write(
        &self,
        captioner: &Captioner,
        pictures: &ImageInputs,
        process: ProcessRank,
        progress: &mut dyn Progress,
    ) -> Result<Option<Pieces>, Error> {
        let own: Vec<usize> = process.shard(self.ranges.len()).collect();
        if own.is_empty() {
            return Ok(None);
        }
        let pieces = Pieces::open(&self.folder(), &self.key)?;
        let total: usize = own.iter().map(|&piece| self.ranges[piece].len()).sum();
        progress.start("captioning", Unit::Count("pictures"), Some(total as u64), 0);
        let mut before = 0;
        for piece in own {
            let _lock = pieces.wait_for(piece)?;
            let (path, range) = (pieces.path(piece, "json"), self.ranges[piece].clone());
            // Another process may have merged all pieces meanwhile.
            if self.piece(piece).is_none() && self.finished().is_none() {
                if path.exists() {
                    progress.note(&format!(
                        "{} is damaged; captioning its pictures again",
                        printable_path(&path)
                    ));
                }
                let some = pictures.slice(range.clone());
                let written = captioner.caption(&some, &mut Part::new(progress, before as u64))?;
                kept::write_json(&path, &self.key, &written)?;
            }
            before += range.len();
            progress.position(before as u64);
        }
        progress.finish();
        Ok(Some(pieces))
    }

    /// Returns all captions in order, or the number of images that lack captions.
    fn all(&self) -> Result<Captions, usize> {
        if let Some(finished) = self.finished() {
            return Ok(finished);
        }
        let (mut all, mut missing) = (Vec::new(), 0);
        for (piece, range) in self.ranges.iter().enumerate() {
            match self.piece(piece) {
                Some(mut captions) => all.append(&mut captions),
                None => missing += range.len(),
            }
        }
        if missing == 0 { Ok(all) } else { Err(missing) }
    }

    /// Writes all captions as one file and removes the pieces.
    ///
    /// Also removes pieces of other captions that killed processes left.
    pub(crate) fn finish(&self, captions: &Captions, (pieces, lock): Merging) -> Result<(), Error> {
        durable::create_dir_all(self.file.parent().unwrap_or(Path::new("")))?;
        kept::write_json(&self.file, &self.key, captions)?;
        pieces.remove(lock)?;
        Ok(kept::remove_leftovers(&self.out)?)
    }
}
