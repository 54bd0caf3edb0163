//! Captions of a split, written in pieces until all are there, and then kept as one file: so several
//! processes can share the work, one that was killed does not lose what is done, and one that comes late
//! finds it done.
//!
//! A piece is a file in a folder beside the evaluation that is named after what the captions depend on:
//! model, data, decoding and code. Pieces do not depend on how many processes there are. Every file
//! carries a digest of its contents; damaged ones are written again. The folder is locked by those that
//! caption, so that one which a killed process left is removed by the next evaluation.

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use durable::sealed::{self, SealError};
use foreign_text::printable_path;
use launchers::Place;
use progress::{Part, Progress, Unit};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::captioner::Captioner;
use crate::captions::{Caption, ImageInputs};
use crate::error::Error;

/// Pictures of a piece, or a batch where that is more.
const PIECE_PICTURES: usize = 256;
/// Digits of the key in the name of the pieces' folder.
const KEY_DIGITS: usize = 16;

/// The pieces of a split.
pub(crate) struct Pieces {
    folder: PathBuf,
    /// The name of the evaluation's folder.
    out_name: String,
    /// Where all captions are kept once they are scored.
    file: PathBuf,
    /// A digest of what the captions depend on.
    key: String,
    ranges: Vec<Range<usize>>,
}

/// Captions of a split or a piece of it, in their file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept<C> {
    key: String,
    captions: C,
}

impl Pieces {
    /// Of pictures that `captioner` captions for an evaluation in `out`; `what` tells their names, what
    /// each is captioned from, and by which code.
    pub(crate) fn new(
        out: &Path,
        captioner: &Captioner,
        pictures: &ImageInputs,
        what: &impl Serialize,
    ) -> Result<Self, Error> {
        let fail = |error: serde_json::Error| Error::RunFile {
            path: out.to_owned(),
            reason: error.to_string(),
        };
        let config = captioner.config.to_toml();
        let known = (&captioner.checkpoint.model_sha256, config, what, &pictures.keywords);
        let key = hex::encode(Sha256::digest(serde_json::to_vec(&known).map_err(fail)?));
        let out_name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let folder = format!("{out_name}.{}.partial", &key[..KEY_DIGITS]);
        let together =
            captioner.config.decoding.pictures_together(pictures.embeddings.device().is_cuda());
        let size = PIECE_PICTURES.next_multiple_of(together);
        let count = pictures.numbers.len();
        let ranges = (0..count).step_by(size).map(|first| first..count.min(first + size));
        Ok(Self {
            folder: out.with_file_name(folder),
            out_name,
            file: out.join("captions.json"),
            key,
            ranges: ranges.collect(),
        })
    }

    /// The file of all captions.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Returns all captions in order, where they were kept.
    pub(crate) fn kept(&self) -> Option<Vec<Vec<Caption>>> {
        self.read(&self.file).ok()?
    }

    /// Returns why the file of all captions is not used although it is there; of a file of other captions
    /// nothing.
    pub(crate) fn damage(&self) -> Option<SealError> {
        self.read(&self.file).err().filter(|_| self.file.exists())
    }

    /// Reads captions, where the file has those of this evaluation.
    fn read(&self, path: &Path) -> Result<Option<Vec<Vec<Caption>>>, SealError> {
        let kept: Kept<Vec<Vec<Caption>>> = sealed::read_json(path)?;
        Ok((kept.key == self.key).then_some(kept.captions))
    }

    /// Reads the captions of a piece, where they are there and whole.
    fn piece(&self, piece: usize) -> Option<Vec<Vec<Caption>>> {
        let captions = self.read(&self.path(piece)).ok()??;
        (captions.len() == self.ranges[piece].len()).then_some(captions)
    }

    /// Captions those pieces of this process that are not there. Returns false if it has none, and so
    /// nothing to put together.
    pub(crate) fn write(
        &self,
        captioner: &Captioner,
        pictures: &ImageInputs,
        place: Place,
        progress: &mut dyn Progress,
    ) -> Result<bool, Error> {
        let own: Vec<usize> = place.share(self.ranges.len()).collect();
        if own.is_empty() {
            return Ok(false);
        }
        durable::create_dir_all(&self.folder)?;
        // A file system without locks keeps the leftovers of killed processes.
        let at_work = File::open(&self.folder).ok();
        let _ = at_work.as_ref().map(File::lock_shared);
        let total: usize = own.iter().map(|&piece| self.ranges[piece].len()).sum();
        progress.start("captioning", Unit::Count("pictures"), Some(total as u64), 0);
        let mut before = 0;
        for piece in own {
            let (path, range) = (self.path(piece), self.ranges[piece].clone());
            // One that is damaged is made again, but not those that others have put together meanwhile.
            if self.piece(piece).is_none() && self.kept().is_none() {
                if path.exists() {
                    progress
                        .note(&format!("{} is damaged: captioned again", printable_path(&path)));
                }
                let some = pictures.slice(range.clone());
                let written = captioner.caption(&some, &mut Part::new(progress, before as u64))?;
                durable::create_dir_all(&self.folder)?;
                self.write_captions(&path, &written)?;
            }
            before += range.len();
            progress.position(before as u64);
        }
        progress.finish();
        Ok(true)
    }

    /// All captions in order, or how many pictures have none yet.
    pub(crate) fn all(&self) -> Result<Vec<Vec<Caption>>, usize> {
        if let Some(kept) = self.kept() {
            return Ok(kept);
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

    /// Waits until no other process puts the pieces together.
    pub(crate) fn lock(&self) -> Result<durable::Lock, Error> {
        Ok(durable::wait_for_lock(&self.lock_file())?)
    }

    /// Keeps all captions as one file, to be there in place of the pieces.
    pub(crate) fn keep(&self, captions: &[Vec<Caption>]) -> Result<(), Error> {
        durable::create_dir_all(self.file.parent().unwrap_or(Path::new("")))?;
        self.write_captions(&self.file, captions)
    }

    fn write_captions(&self, path: &Path, captions: &[Vec<Caption>]) -> Result<(), Error> {
        Ok(sealed::write_json(path, &Kept { key: self.key.clone(), captions })?)
    }

    /// Removes the pieces, if another process has not, the lock, and the pieces of other captions that
    /// killed processes left.
    pub(crate) fn remove(&self, lock: durable::Lock) -> Result<(), Error> {
        self.remove_leftovers()?;
        durable::remove(&self.folder)?;
        durable::remove(&self.lock_file())?;
        drop(lock);
        Ok(())
    }

    fn remove_leftovers(&self) -> Result<(), Error> {
        let start = format!("{}.", self.out_name);
        let around = fs::read_dir(self.folder.parent().unwrap_or(Path::new("")));
        for path in around.into_iter().flatten().flatten().map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let key = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(".partial"));
            if path == self.folder || !key.is_some_and(is_key) || !path.is_dir() {
                continue;
            }
            if File::open(&path).is_ok_and(|folder| folder.try_lock().is_ok()) {
                durable::remove(&path)?;
                durable::remove(&path.with_extension("lock"))?;
            }
        }
        Ok(())
    }

    fn lock_file(&self) -> PathBuf {
        self.folder.with_extension("lock")
    }

    fn path(&self, piece: usize) -> PathBuf {
        self.folder.join(format!("piece-{piece:05}.json"))
    }
}

/// Returns whether this is the part of a key that folders of pieces are named after.
fn is_key(text: &str) -> bool {
    text.len() == KEY_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
