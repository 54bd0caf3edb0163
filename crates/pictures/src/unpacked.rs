//! Unpacked copies of gzip archives, which have no random access.
//!
//! A copy is a temporary file without a name, so it disappears with the process. The most recently
//! used copies are kept, a few more than there are reading threads.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::read::MultiGzDecoder;
use foreign_text::printable_path;

use crate::pixels::PictureProblem;

/// Number of copies kept in addition to one for each thread.
const SPARE: usize = 2;

/// Copy of an archive, made by the first reader while others wait.
type Copy = Arc<Mutex<Option<File>>>;

/// All copies; the most recently used is last.
static COPIES: Mutex<Vec<(Arc<Path>, Copy)>> = Mutex::new(Vec::new());

/// Returns a stream of the uncompressed bytes of `archive`, a gzip file.
#[must_use]
pub fn stream(archive: File) -> impl Read {
    MultiGzDecoder::new(BufReader::with_capacity(1 << 16, archive))
}

/// Calls `read` with the unpacked copy of `archive` under a lock.
pub(crate) fn read<T>(
    archive: &Arc<Path>,
    file: File,
    read: impl FnOnce(&mut File) -> Result<T, PictureProblem>,
) -> Result<T, PictureProblem> {
    let copy = copy_of(archive);
    let mut copy = copy.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(unpacked) = &mut *copy {
        return read(unpacked);
    }
    let mut unpacked = tempfile::tempfile().map_err(no_room)?;
    io::copy(&mut stream(file), &mut unpacked).map_err(no_room)?;
    read(copy.insert(unpacked))
}

#[allow(clippy::needless_pass_by_value, reason = "`map_err` passes a value")]
fn no_room(error: io::Error) -> PictureProblem {
    let folder = std::env::temp_dir();
    io::Error::new(
        error.kind(),
        format!(
            "its archive cannot be unpacked to {}: {error}; unpack it with gunzip",
            printable_path(&folder)
        ),
    )
    .into()
}

fn copy_of(archive: &Arc<Path>) -> Copy {
    let mut copies = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
    let found = match copies.iter().position(|(path, _)| path == archive) {
        Some(at) => copies.remove(at),
        None => (Arc::clone(archive), Copy::default()),
    };
    let copy = Arc::clone(&found.1);
    copies.push(found);
    let most = rayon::current_num_threads() + SPARE;
    if copies.len() > most {
        copies.remove(0);
    }
    copy
}
