//! Files that are whole or absent, never half-written.
//!
//! Everything capsmith writes for keeps goes through [`write()`] or [`write_with`]: the bytes go to a
//! sibling temporary file, are synced, and the file is renamed over its destination; then the
//! directory is synced. After a crash, a kill or a full disk the destination holds the old bytes or
//! the new ones.
//!
//! ```
//! # fn main() -> Result<(), durable::Error> {
//! # let folder = std::env::temp_dir().join("durable-doc");
//! durable::create_dir_all(&folder)?;
//! durable::write(&folder.join("scores.json"), b"{}")?;
//! # Ok(())
//! # }
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use foreign_text::printable_path;

/// A file operation that failed, with the path it failed on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused: no space, no permission, no such folder.
    #[error("cannot {action} {}: {source}", printable_path(path))]
    Io {
        /// What was being done, as a verb ("write", "rename").
        action: &'static str,
        /// The file or folder concerned.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error("{} is in use by another capsmith process; wait for it to end, or choose another folder", printable_path(.0))]
    Locked(PathBuf),
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// Writes `contents` to `path`, all or nothing.
///
/// # Errors
/// Names `path`; whatever was there before is untouched.
pub fn write(path: &Path, contents: &[u8]) -> Result<(), Error> {
    write_with(path, |file| file.write_all(contents))
}

/// [`write()`] unless these very bytes are there: what goes by a file's time of change then sees none.
///
/// # Errors
/// As [`write()`].
pub fn write_if_other(path: &Path, contents: &[u8]) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|there| there == contents) {
        return Ok(());
    }
    write(path, contents)
}

/// Writes to `path`, all or nothing, through a buffered writer.
///
/// # Errors
/// Names `path`; whatever was there before is untouched, and the temporary file is removed.
pub fn write_with<F>(path: &Path, fill: F) -> Result<(), Error>
where
    F: FnOnce(&mut BufWriter<File>) -> io::Result<()>,
{
    let temporary = sibling(path);
    let result = fill_and_sync(&temporary, fill)
        .map_err(io_error("write", path))
        .and_then(|()| replace(&temporary, path));
    if result.is_err() {
        // The destination is intact; a leftover sibling would only take space.
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn fill_and_sync<F>(temporary: &Path, fill: F) -> io::Result<()>
where
    F: FnOnce(&mut BufWriter<File>) -> io::Result<()>,
{
    let mut writer = BufWriter::new(File::create(temporary)?);
    fill(&mut writer)?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Renames a finished, synced file over `path` and syncs the directory.
///
/// # Errors
/// Names `path`.
pub fn replace(finished: &Path, path: &Path) -> Result<(), Error> {
    fs::rename(finished, path).map_err(io_error("rename onto", path))?;
    sync_parent(path)
}

/// Creates a folder and its parents, and syncs the parent so that the folder survives a crash.
///
/// # Errors
/// Names the folder.
pub fn create_dir_all(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(io_error("create folder", path))?;
    sync_parent(path)
}

/// Removes a file, or a folder with all that is in it. Where nothing is, nothing is done.
///
/// # Errors
/// Names `path`.
pub fn remove(path: &Path) -> Result<(), Error> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(io_error("remove", path)),
    }
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(io_error("sync", parent))
}

/// The temporary file's name lies beside the destination, so that the rename stays on one disk.
fn sibling(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    path.with_file_name(name)
}

/// Held for as long as this process owns a folder; released when dropped or when the process ends,
/// however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock file at `path`, creating it where needed.
///
/// # Errors
/// [`Error::Locked`] when another process holds it.
pub fn lock(path: &Path) -> Result<Lock, Error> {
    let file = open_lock(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Locked(path.to_owned())),
        Err(fs::TryLockError::Error(source)) => {
            Err(Error::Io { action: "lock", path: path.to_owned(), source })
        }
    }
}

/// As [`lock`], but waits for as long as another process holds it.
///
/// # Errors
/// Names `path`.
pub fn wait_for_lock(path: &Path) -> Result<Lock, Error> {
    let file = open_lock(path)?;
    file.lock().map_err(io_error("lock", path))?;
    Ok(Lock { _file: file })
}

fn open_lock(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(io_error("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_removed_and_what_is_absent_stays_so() {
        let folder = tempfile::tempdir().unwrap();
        let (file, full) = (folder.path().join("a.json"), folder.path().join("full"));
        write(&file, b"a").unwrap();
        create_dir_all(&full).unwrap();
        write(&full.join("b.json"), b"b").unwrap();
        for path in [&file, &full] {
            remove(path).unwrap();
            assert!(!path.exists());
            remove(path).unwrap();
        }
        write(&file, b"a").unwrap();
        let error = remove(&file.join("below a file")).unwrap_err();
        assert!(error.to_string().contains("below a file"), "{error}");
    }

    #[test]
    fn a_failed_write_leaves_the_old_bytes_and_no_sibling() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write(&path, b"old").unwrap();
        let error = write_with(&path, |file| {
            file.write_all(b"half of the n")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        })
        .unwrap_err();
        assert!(error.to_string().contains("a.json"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_same_bytes_are_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let changed = || fs::metadata(&path).unwrap().modified().unwrap();
        write_if_other(&path, b"one").unwrap();
        let before = changed();
        std::thread::sleep(std::time::Duration::from_millis(20));
        write_if_other(&path, b"one").unwrap();
        assert_eq!(changed(), before);
        write_if_other(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_ne!(changed(), before);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("gone/a.json"), b"x").unwrap_err();
        assert!(error.to_string().contains("gone/a.json"), "{error}");
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = lock(&path).unwrap();
        assert!(matches!(lock(&path), Err(Error::Locked(_))));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_for_lock(&path).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!waiting.is_finished());
            drop(first);
            waiting.join().unwrap();
        });
        lock(&path).unwrap();
    }
}
