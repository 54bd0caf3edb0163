//! Captions of a split, written in pieces until all are there, and then kept as one file: so several
//! processes can share the work, one that was killed does not lose what is done, and one that comes late
//! finds it done.
//!
//! A piece is a file in a folder beside the evaluation that is named after what the captions depend on:
//! model, data, decoding and code. Pieces do not depend on how many processes there are.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use launchers::Place;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::captioner::{Caption, Captioner, Event, Pictures};
use crate::error::Error;
use crate::run_folder::write_json;

/// Pictures of a piece, or a batch where that is more.
const PIECE_PICTURES: usize = 256;

/// The pieces of a split.
pub(crate) struct Pieces {
    folder: PathBuf,
    /// Where all captions are kept once they are scored.
    file: PathBuf,
    /// A digest of what the captions depend on.
    key: String,
    ranges: Vec<Range<usize>>,
}

/// All captions of a split.
#[derive(Serialize, Deserialize)]
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
        pictures: &Pictures,
        what: &impl Serialize,
    ) -> Result<Self, Error> {
        let fail = |error: serde_json::Error| Error::RunFile {
            path: out.to_owned(),
            reason: error.to_string(),
        };
        let config = captioner.config.to_toml();
        let known = (&captioner.model_sha256, config, what, &pictures.keywords);
        let key = hex::encode(Sha256::digest(serde_json::to_vec(&known).map_err(fail)?));
        let mut folder = out.file_name().unwrap_or_default().to_owned();
        folder.push(format!(".{}.partial", &key[..16]));
        let size = PIECE_PICTURES.next_multiple_of(captioner.config.decoding.batch_size);
        let count = pictures.numbers.len();
        let ranges = (0..count).step_by(size).map(|first| first..count.min(first + size));
        Ok(Self {
            folder: out.with_file_name(folder),
            file: out.join("captions.json"),
            key,
            ranges: ranges.collect(),
        })
    }

    /// The file of all captions.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// All captions in order, where they were kept.
    pub(crate) fn kept(&self) -> Option<Vec<Vec<Caption>>> {
        let kept: Kept<Vec<Vec<Caption>>> =
            serde_json::from_slice(&fs::read(&self.file).ok()?).ok()?;
        (kept.key == self.key).then_some(kept.captions)
    }

    /// Captions those pieces of `place` that are not there. `progress` is told how many of its pictures
    /// are done, and of how many. False where it has none, and so nothing to put together.
    pub(crate) fn write(
        &self,
        captioner: &Captioner,
        pictures: &Pictures,
        place: Place,
        mut progress: impl FnMut(Event, usize),
    ) -> Result<bool, Error> {
        let own: Vec<usize> = place.share(self.ranges.len()).collect();
        if own.is_empty() {
            return Ok(false);
        }
        let total = own.iter().map(|&piece| self.ranges[piece].len()).sum();
        let mut before = 0;
        for piece in own {
            let (path, range) = (self.path(piece), self.ranges[piece].clone());
            // One that is damaged is made again, but not those that others have put together meanwhile.
            if read(&path, range.len()).is_none() && self.kept().is_none() {
                let some = pictures.slice(range.clone());
                let written = captioner.caption(&some, |event| match event {
                    Event::Done(done) => progress(Event::Done(before + done), total),
                    Event::Note(_) => progress(event, total),
                })?;
                durable::create_dir_all(&self.folder)?;
                write_json(&path, &written)?;
            }
            before += range.len();
            progress(Event::Done(before), total);
        }
        Ok(true)
    }

    /// All captions in order, or how many pictures have none yet.
    pub(crate) fn all(&self) -> Result<Vec<Vec<Caption>>, usize> {
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let (mut all, mut missing) = (Vec::new(), 0);
        for (piece, range) in self.ranges.iter().enumerate() {
            match read(&self.path(piece), range.len()) {
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
        write_json(&self.file, &Kept { key: self.key.clone(), captions })
    }

    /// Removes the pieces, if another process has not, and the lock.
    pub(crate) fn remove(&self, lock: durable::Lock) -> Result<(), Error> {
        durable::remove(&self.folder)?;
        durable::remove(&self.lock_file())?;
        drop(lock);
        Ok(())
    }

    fn lock_file(&self) -> PathBuf {
        self.folder.with_extension("lock")
    }

    fn path(&self, piece: usize) -> PathBuf {
        self.folder.join(format!("piece-{piece:05}.json"))
    }
}

/// The captions of a piece of so many pictures, where they are there and whole.
fn read(path: &Path, pictures: usize) -> Option<Vec<Vec<Caption>>> {
    let captions: Vec<Vec<Caption>> = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (captions.len() == pictures).then_some(captions)
}
