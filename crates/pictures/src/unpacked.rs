//! Compressed archives, unpacked where pictures in them are read: gzip has no way to begin midway.
//!
//! An unpacked copy is a temporary file without a name, so that it ends with the process. The
//! copies that were used last are kept, a few more than there are threads that read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::read::MultiGzDecoder;
use foreign_text::printable_path;

use crate::pixels::PictureProblem;

/// Copies that are kept beyond one for each thread.
const SPARE: usize = 2;

/// An archive's copy, made by whoever first asks for it while others wait.
type Copy = Arc<Mutex<Option<File>>>;

/// The copies, the one used last at the end.
static COPIES: Mutex<Vec<(Arc<Path>, Copy)>> = Mutex::new(Vec::new());

/// Returns a stream of the uncompressed bytes of `archive`, a gzip file.
pub fn stream(archive: File) -> impl Read {
    MultiGzDecoder::new(BufReader::with_capacity(1 << 16, archive))
}

/// Gives `read` the uncompressed bytes of `archive`, which is open as `file`, alone.
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
