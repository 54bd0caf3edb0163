//! Files that embeddings were made from: sizes, modification times and digests.
//!
//! An image whose file has the recorded size and time counts as unchanged. If the time differs, its
//! contents are digested: a copied or touched image is unchanged too.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pictures::{FileStamp, PictureError, PictureFile, PictureProblem};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of a record in a file of embeddings.
pub(crate) const RECORD: usize = 48;

/// Images whose size and time are compared between two checks of the stop flag.
const STAMPS_PER_CHECK: usize = 1 << 14;

/// Images whose contents are compared between two checks of the stop flag.
const DIGESTS_PER_CHECK: usize = 256;

/// Images whose contents [`sampled_changes`] compares at most.
const MAX_DIGESTED: usize = 4096;

/// Record of an image's file; `None` if there was no file.
pub(crate) type Source = Option<Record>;

/// Size, modification time and digest of an image's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    size: u64,
    /// Nanoseconds since 1970.
    modified: i64,
    #[serde(with = "hex::serde")]
    sha256: [u8; 32],
}

/// Digest of a file that cannot be read, or is no image by its first bytes.
const UNREAD: [u8; 32] = [0; 32];

/// Reads an image's bytes and records its file.
pub(crate) fn read(file: &PictureFile) -> (Source, Result<Vec<u8>, PictureError>) {
    let record = |stamp, sha256| {
        let FileStamp { size, modified } = stamp;
        Record { size, modified, sha256 }
    };
    match file.read() {
        Ok((bytes, stamp)) => (Some(record(stamp, Sha256::digest(&bytes).into())), Ok(bytes)),
        Err(error) => (file.stamp().ok().map(|stamp| record(stamp, UNREAD)), Err(error)),
    }
}

impl Record {
    fn stamp(&self) -> FileStamp {
        FileStamp { size: self.size, modified: self.modified }
    }
}

/// Appends `source` to the records of a file; zeros stand for `None`.
pub(crate) fn append(source: Source, records: &mut Vec<u8>) {
    let Some(Record { size, modified, sha256 }) = source else {
        records.extend([0; RECORD]);
        return;
    };
    records.extend(size.to_le_bytes());
    records.extend(modified.to_le_bytes());
    records.extend(sha256);
}

/// Parses a record that [`append`] wrote.
pub(crate) fn parse(record: &[u8; RECORD]) -> Source {
    if *record == [0; RECORD] {
        return None;
    }
    let (size, rest) = record.split_first_chunk()?;
    let (modified, sha256) = rest.split_first_chunk()?;
    Some(Record {
        size: u64::from_le_bytes(*size),
        modified: i64::from_le_bytes(*modified),
        sha256: sha256.try_into().ok()?,
    })
}

/// Result of comparing an image with its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Size and modification time are the recorded ones.
    Same,
    /// Only the modification time has changed; the new record is attached.
    Touched(Record),
    /// The image has changed, appeared or disappeared.
    Changed,
}

/// Compares images with their records; `None` if `stop` was raised meanwhile.
///
/// `find` returns the file of an image. `progress` gets the number of images whose contents were
/// digested and the number of all that will be; it is not called if there are none.
pub(crate) fn compare(
    records: &[(usize, Source)],
    find: impl Fn(usize) -> PictureFile + Sync,
    mut progress: impl FnMut(usize, usize),
    stop: &AtomicBool,
) -> Option<Vec<Verdict>> {
    let mut verdicts = Vec::with_capacity(records.len());
    for chunk in records.chunks(STAMPS_PER_CHECK) {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let compare_stamp =
            |(picture, source): &(usize, Source)| compare_stamp(&find(*picture), *source);
        verdicts.par_extend(chunk.par_iter().map(compare_stamp));
    }
    let mut touched: Vec<_> = verdicts
        .iter_mut()
        .zip(records)
        .filter(|(verdict, _)| matches!(verdict, Verdict::Touched(_)))
        .map(|(verdict, (picture, _))| (verdict, *picture))
        .collect();
    let total = touched.len();
    let done = AtomicUsize::new(0);
    for chunk in touched.chunks_mut(DIGESTS_PER_CHECK) {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        progress(done.load(Ordering::Relaxed), total);
        chunk.par_iter_mut().for_each(|(verdict, picture)| {
            if let Verdict::Touched(record) = **verdict {
                **verdict = digest(&find(*picture), record);
            }
            done.fetch_add(1, Ordering::Relaxed);
        });
    }
    if total > 0 {
        progress(total, total);
    }
    Some(verdicts)
}

/// Returns changed images, comparing contents of at most [`MAX_DIGESTED`], evenly spread.
///
/// A copy of a data set has other times throughout, and reading all of it would take too long.
pub(crate) fn sampled_changes(
    records: &[(usize, Source)],
    find: impl Fn(usize) -> PictureFile + Sync,
) -> Vec<usize> {
    let verdicts: Vec<Verdict> = records
        .par_iter()
        .map(|(picture, source)| compare_stamp(&find(*picture), *source))
        .collect();
    let touched = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Touched(_))).count();
    let step = touched.div_ceil(MAX_DIGESTED).max(1);
    let mut number = 0;
    let mut suspects: Vec<(usize, Verdict)> = Vec::new();
    for ((picture, _), verdict) in records.iter().zip(verdicts) {
        match verdict {
            Verdict::Same => {}
            Verdict::Changed => suspects.push((*picture, verdict)),
            Verdict::Touched(_) => {
                if number % step == 0 {
                    suspects.push((*picture, verdict));
                }
                number += 1;
            }
        }
    }
    let has_changed = |(picture, verdict): (usize, Verdict)| match verdict {
        Verdict::Touched(record) => {
            (digest(&find(picture), record) == Verdict::Changed).then_some(picture)
        }
        _ => Some(picture),
    };
    suspects.into_par_iter().filter_map(has_changed).collect()
}

/// Compares size and time only. The embedding of a removed image stays as it is.
fn compare_stamp(file: &PictureFile, source: Source) -> Verdict {
    match (source, file.stamp()) {
        (Some(record), Ok(stamp)) if record.stamp() == stamp => Verdict::Same,
        (Some(record), Ok(stamp)) if record.size == stamp.size => Verdict::Touched(record),
        (None, Err(_)) => Verdict::Same,
        (Some(_), Err(PictureError { problem: PictureProblem::Io(error), .. }))
            if error.kind() == ErrorKind::NotFound =>
        {
            Verdict::Same
        }
        _ => Verdict::Changed,
    }
}

fn digest(file: &PictureFile, record: Record) -> Verdict {
    match read(file).0 {
        Some(now) if now.sha256 == record.sha256 => Verdict::Touched(now),
        _ => Verdict::Changed,
    }
}
