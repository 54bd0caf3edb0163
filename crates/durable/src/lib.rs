//! Files that are whole or absent, never half-written.
//!
//! Everything that capsmith keeps goes through [`write()`] or [`write_with`]. They write the bytes
//! to a temporary file next to the destination, sync it, rename it over the destination and sync
//! the directory. After a crash, a kill or a full disk the destination holds the old bytes or the
//! new ones. The next write to the same destination reuses the temporary file of a killed process.
//! [`kept`] builds on this: finished work is kept by a key and reused.
//!
//! ```
//! # fn main() -> Result<(), durable::Error> {
//! # let folder = std::env::temp_dir().join("durable-doc");
//! durable::create_dir_all(&folder)?;
//! durable::write(&folder.join("scores.json"), b"{}")?;
//! # Ok(())
//! # }
//! ```

pub mod digests;
pub mod kept;
pub mod sealed;
mod staged;
mod temporary;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use staged::StagedFolder;
use temporary::Temporary;

use foreign_text::printable_path;
use serde::Serialize;

/// A failed file operation and its path.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused the operation: no space, no permission, no such folder.
    #[error("cannot {action} {}: {source}", printable_path(path))]
    Io {
        /// Verb for the operation ("write", "rename").
        action: &'static str,
        /// File or folder of the operation.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error("{} is in use by another capsmith process; wait for it to end, or choose another folder", printable_path(.0))]
    Locked(PathBuf),
    /// A folder holds unfinished work with another key.
    #[error(
        "{} is from an unfinished run that cannot be resumed:\n  {}\nhint: repeat that run's \
         settings, or remove the folder to start over",
        printable_path(folder), differences.join("\n  ")
    )]
    OtherKey {
        /// Folder of the unfinished work.
        folder: PathBuf,
        /// Differences of the keys, one per line.
        differences: Vec<String>,
    },
    /// The key of unfinished work cannot be read.
    #[error("{} {reason}\nhint: remove the folder it lies in to start over", printable_path(path))]
    BadKey {
        /// File of the key.
        path: PathBuf,
        /// Damage.
        reason: String,
    },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// Returns the first entry of a folder, by name, that is not one of `own`.
///
/// The remains of an interrupted [`write()`] of one of them is none either. Returns `None` also for a
/// folder that does not exist.
#[must_use]
pub fn first_foreign_entry(folder: &Path, own: &[&str]) -> Option<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !own.contains(&name.trim_end_matches(".partial"))).min()
}

/// Writes `contents` to `path`, all or nothing.
///
/// # Errors
/// Names `path`, which keeps its previous contents, or has the new ones if only the folder could
/// not be synced.
pub fn write(path: &Path, contents: &[u8]) -> Result<(), Error> {
    write_with(path, |file| file.write_all(contents))
}

/// Writes `value` as indented JSON, all or nothing.
///
/// # Errors
/// Same as [`write()`]. Also fails if `value` cannot be serialised.
pub fn write_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<(), Error> {
    write(path, to_json(path, value)?.as_bytes())
}

/// Returns a value as indented JSON with a line feed at its end.
fn to_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<String, Error> {
    let json = serde_json::to_string_pretty(value);
    Ok(json.map_err(|error| io_error("write", path)(error.into()))? + "\n")
}

/// Writes `contents` to `path` unless the file holds these bytes already.
///
/// An unchanged file keeps its modification time.
///
/// # Errors
/// Same as [`write()`].
pub fn write_if_other(path: &Path, contents: &[u8]) -> Result<(), Error> {
    if fs::read(path).is_ok_and(|there| there == contents) {
        return Ok(());
    }
    write(path, contents)
}

/// Writes to `path`, all or nothing, through a buffered writer.
///
/// # Errors
/// Names `path`, as [`write()`] does. The temporary file is removed.
pub fn write_with<F>(path: &Path, fill: F) -> Result<(), Error>
where
    F: FnOnce(&mut BufWriter<File>) -> io::Result<()>,
{
    let temporary = Temporary::beside(path).map_err(io_error("write", path))?;
    fill_and_sync(&temporary, fill).map_err(io_error("write", path))?;
    replace(temporary.path(), path)?;
    temporary.keep();
    Ok(())
}

fn fill_and_sync<F>(temporary: &Temporary, fill: F) -> io::Result<()>
where
    F: FnOnce(&mut BufWriter<File>) -> io::Result<()>,
{
    let mut writer = BufWriter::new(temporary.file()?);
    fill(&mut writer)?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// Renames a finished, synced file to `path` and syncs the directory.
///
/// # Errors
/// Names `path`.
pub fn replace(finished: &Path, path: &Path) -> Result<(), Error> {
    fs::rename(finished, path).map_err(io_error("rename onto", path))?;
    tracing::trace!("wrote {}", printable_path(path));
    sync_parent(path)
}

/// Creates a folder and its parents, and syncs the parent against crashes.
///
/// # Errors
/// Names the folder.
pub fn create_dir_all(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(io_error("create folder", path))?;
    sync_parent(path)
}

/// Removes a file, or a folder with its contents. Does nothing if `path` does not exist.
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

/// Returns the user's folder for data that capsmith brings once; `None` if no variable names one.
///
/// It is `$CAPSMITH_DATA` if that is set, else `$XDG_DATA_HOME/capsmith` or
/// `~/.local/share/capsmith`, on macOS `~/Library/Application Support/capsmith`.
#[must_use]
pub fn data_folder() -> Option<PathBuf> {
    let variable =
        |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("CAPSMITH_DATA").or_else(|| {
        let home = || variable("HOME");
        let data = if cfg!(target_os = "macos") {
            home().map(|home| home.join("Library").join("Application Support"))
        } else {
            variable("XDG_DATA_HOME")
                .or_else(|| home().map(|home| home.join(".local").join("share")))
        };
        data.map(|data| data.join("capsmith"))
    })
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(io_error("sync", parent))
}

/// Exclusive lock on a lock file.
///
/// Released when it is dropped or when the process ends, even by a kill.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Takes the lock file at `path`, creating it if needed.
///
/// # Errors
/// [`Error::Locked`] if another process holds it.
pub fn lock(path: &Path) -> Result<Lock, Error> {
    let file = open_lock(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { file }),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Locked(path.to_owned())),
        Err(fs::TryLockError::Error(source)) => {
            Err(Error::Io { action: "lock", path: path.to_owned(), source })
        }
    }
}

/// Takes the lock file at `path`, waiting while another process holds it.
///
/// # Errors
/// Names `path`.
pub fn wait_for_lock(path: &Path) -> Result<Lock, Error> {
    let file = open_lock(path)?;
    file.lock().map_err(io_error("lock", path))?;
    Ok(Lock { file })
}

fn open_lock(path: &Path) -> Result<File, Error> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(io_error("open", path))
}

/// Makes writes beyond the limit of `ulimit -f` fail as on a full disk.
///
/// Without this, SIGXFSZ ends the process and leaves a half-written file.
///
/// # Errors
/// Fails if the signal handler cannot be registered.
pub fn fail_at_the_size_limit() -> io::Result<()> {
    // With a handler, write() returns an error. The flag is never read.
    let flag = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, flag).map(drop)
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
    fn what_a_killed_writer_left_is_taken_over_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(folder.path().join("a.json.partial"), "much more than what is written now")
            .unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn several_writers_of_one_file_leave_the_bytes_of_one_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        std::thread::scope(|scope| {
            for letter in b'a'..b'i' {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        write(path, &[letter; 1000]).unwrap();
                    }
                });
            }
        });
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes, [bytes[0]; 1000]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_same_bytes_are_not_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let changed = || fs::metadata(&path).unwrap().modified().unwrap();
        write_if_other(&path, b"one").unwrap();
        let before = std::time::SystemTime::UNIX_EPOCH;
        File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
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
