//! Finished work that is kept by a key and reused while the key stays the same.
//!
//! A [`Key`] names everything that a result depends on. Equal keys mean that the result is reused;
//! errors name the values that differ. A key also holds a format number that developers raise when
//! results change, so that an edited comment rebuilds nothing. There are three forms:
//!
//! - [`read_json`] and [`write_json`]: a JSON file with its key.
//! - [`folder`]: a folder that one process makes while the others wait.
//! - [`Pieces`]: pieces of fixed size, shared by several processes and resumed after a kill.
//!
//! Everything is written to a temporary sibling and renamed. Only damaged work is replaced.
//!
//! ```
//! use durable::kept::{self, Key};
//! # fn main() -> Result<(), durable::Error> {
//! # let root = tempfile::tempdir().unwrap();
//! # let root = root.path();
//! let key = Key::new([("vocabulary", "300"), ("captions", "0f3a")]);
//! let folder = root.join(key.sha256());
//! for _ in 0..2 {
//!     // The second time, the folder is there.
//!     kept::folder(&folder, |partial| durable::write(&partial.join("vocab.json"), b"{}"))?;
//! }
//! assert_eq!(
//!     key.differences(&Key::new([("vocabulary", "400"), ("captions", "0f3a")])),
//!     ["vocabulary: 400 there, 300 here"]
//! );
//! # Ok(())
//! # }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digests::{self, Digests};
use crate::sealed::{self, SealError};
use crate::temporary::is_at;
use crate::{Error, Lock};

/// Digits of a key's SHA-256 in the name of a folder of pieces.
const KEY_DIGITS: usize = 16;
/// File of a folder of pieces that holds their key.
const KEY: &str = "key.json";
/// Lock file of a folder of pieces, held while they are merged.
const LOCK: &str = "lock";
/// File of a kept folder with the SHA-256 of its other files.
const DIGESTS: &str = "digests.json";

/// Named values that a result depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(BTreeMap<String, String>);

impl Key {
    /// Returns a key of these names and values.
    pub fn new<N: Into<String>, V: ToString>(values: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(values.into_iter().map(|(name, value)| (name.into(), value.to_string())).collect())
    }

    /// Adds the SHA-256 of a value's JSON, for values too long to be read.
    ///
    /// # Panics
    /// Panics if `value` cannot be JSON, such as a map with keys that are no strings.
    #[must_use]
    pub fn with_digest(mut self, name: &str, value: &impl Serialize) -> Self {
        let json = serde_json::to_vec(value).unwrap_or_else(|error| panic!("{name}: {error}"));
        self.0.insert(name.to_owned(), hex::encode(Sha256::digest(json)));
        self
    }

    /// Returns the value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Adds the names and values of another key.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Returns the key without a name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// Returns the SHA-256 of all names and values, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        let mut digest = Sha256::new();
        for text in self.0.iter().flat_map(|(name, value)| [name, value]) {
            // With their lengths, so that no other division of the same text has this digest.
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
        hex::encode(digest.finalize())
    }

    /// Returns the names whose values differ from those in `there`.
    #[must_use]
    pub fn changed_names(&self, there: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(there.0.keys()).collect();
        let differ = |name: &&String| self.0.get(*name) != there.0.get(*name);
        names.into_iter().filter(differ).cloned().collect()
    }

    /// Returns a line for each value that differs, such as `batch size: 32 there, 64 here`.
    #[must_use]
    pub fn differences(&self, there: &Self) -> Vec<String> {
        let line = |name: String| {
            let [there, here] = [there, self].map(|key| key.get(&name).unwrap_or("nothing"));
            format!("{name}: {there} there, {here} here")
        };
        self.changed_names(there).into_iter().map(line).collect()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keyed<T> {
    key: Key,
    value: T,
}

/// Writes a value and its key as JSON, with a digest of the contents.
///
/// # Errors
/// Names the file.
pub fn write_json<T: Serialize>(path: &Path, key: &Key, value: &T) -> Result<(), Error> {
    sealed::write_json(path, &Keyed { key: key.clone(), value })
}

/// Reads a value that [`write_json`] wrote; `None` if its key is another one.
///
/// # Errors
/// Fails if the file is missing or damaged, or was not written by [`write_json`].
pub fn read_json<T: DeserializeOwned>(path: &Path, key: &Key) -> Result<Option<T>, SealError> {
    let kept: Keyed<T> = sealed::read_json(path)?;
    Ok((kept.key == *key).then_some(kept.value))
}

/// Fills `folder` by `make` unless it is there and undamaged.
///
/// `make` gets the path of an empty folder, which is renamed to `folder` at the end.
/// The name of `folder` has to be its key. While one process makes it, the others wait.
///
/// # Errors
/// Names the file that cannot be read or written, or returns the error of `make`.
pub fn folder<E: From<Error>>(
    folder: &Path,
    make: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    crate::create_dir_all(folder.parent().unwrap_or(Path::new("")))?;
    let _lock = crate::wait_for_lock(&folder.with_added_extension("lock"))?;
    let is_whole = sealed::read_json::<Digests>(&folder.join(DIGESTS))
        .is_ok_and(|digests| digests::first_changed(&digests, folder).is_none());
    let found = if is_whole { "hit" } else { "miss" };
    tracing::debug!("cache {found}: {}", printable_path(folder));
    if is_whole {
        return Ok(());
    }
    crate::remove(folder)?;
    let partial = folder.with_added_extension("partial");
    // A killed process may have left it.
    crate::remove(&partial)?;
    crate::create_dir_all(&partial)?;
    make(&partial)?;
    let mut digests = Digests::new();
    digests::add(&mut digests, &partial, &partial)?;
    sealed::write_json(&partial.join(DIGESTS), &digests)?;
    Ok(crate::replace(&partial, folder)?)
}

/// Pieces of an unfinished result, in a folder next to it.
///
/// ```text
/// RESULT.partial/          or RESULT.KEY.partial/
///   key.json               what the pieces depend on
///   piece-00000.json       a piece, in the caller's format
///   piece-00000.lock       held while a process works on it
///   lock                   held while all pieces are merged
/// ```
///
/// Pieces do not depend on the number of processes, so a result may be resumed with more or fewer.
/// The folder itself is locked, shared, by every process that works in it.
#[derive(Debug)]
pub struct Pieces {
    folder: PathBuf,
    /// `None` on a file system without locks.
    _at_work: Option<File>,
}

impl Pieces {
    /// Returns the folder for the pieces of `result`, for results with one key at a time.
    #[must_use]
    pub fn folder_of(result: &Path) -> PathBuf {
        result.with_added_extension("partial")
    }

    /// Returns the folder for the pieces of `result` with this key.
    #[must_use]
    pub fn folder_of_key(result: &Path, key: &Key) -> PathBuf {
        result.with_added_extension(format!("{}.partial", &key.sha256()[..KEY_DIGITS]))
    }

    /// Opens or creates a folder of pieces.
    ///
    /// # Errors
    /// [`Error::OtherKey`] if it holds pieces of another key; [`Error::BadKey`] if its key cannot
    /// be read.
    pub fn open(folder: &Path, key: &Key) -> Result<Self, Error> {
        tracing::debug!("pieces of key {} in {}", key.sha256(), printable_path(folder));
        crate::create_dir_all(folder)?;
        let at_work = File::open(folder).ok().filter(|folder| folder.lock_shared().is_ok());
        let path = folder.join(KEY);
        match sealed::read_json::<Keyed<()>>(&path) {
            Ok(there) if there.key == *key => {}
            Ok(there) => {
                let differences = key.differences(&there.key);
                return Err(Error::OtherKey { folder: folder.to_owned(), differences });
            }
            Err(SealError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {
                write_json(&path, key, &())?;
            }
            Err(reason) => return Err(Error::BadKey { path, reason: reason.to_string() }),
        }
        Ok(Self { folder: folder.to_owned(), _at_work: at_work })
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the file of a piece.
    #[must_use]
    pub fn path(&self, piece: usize, extension: &str) -> PathBuf {
        piece_path(&self.folder, piece, extension)
    }

    /// Locks a piece for this process.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process works on it.
    pub fn claim(&self, piece: usize) -> Result<Lock, Error> {
        crate::create_dir_all(&self.folder)?;
        crate::lock(&self.path(piece, LOCK))
    }

    /// Locks a piece for this process, waiting while another one works on it.
    ///
    /// # Errors
    /// Names the lock file.
    pub fn wait_for(&self, piece: usize) -> Result<Lock, Error> {
        crate::create_dir_all(&self.folder)?;
        crate::wait_for_lock(&self.path(piece, LOCK))
    }

    /// Waits until no other process merges the pieces, and prevents that any does.
    ///
    /// Returns `None` if another process has merged them and removed the folder.
    ///
    /// # Errors
    /// Names the lock file.
    pub fn lock(&self) -> Result<Option<Lock>, Error> {
        let path = self.folder.join(LOCK);
        match crate::wait_for_lock(&path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(lock) => {
                let is_there = is_at(&lock.file, &path).map_err(crate::io_error("read", &path))?;
                Ok(is_there.then_some(lock))
            }
        }
    }

    /// Removes the folder, once its pieces are merged.
    ///
    /// # Errors
    /// Names the file that cannot be removed.
    pub fn remove(self, lock: Lock) -> Result<(), Error> {
        empty(&self.folder)?;
        drop(lock);
        Ok(())
    }
}

/// Returns the file of a piece in a folder of pieces.
#[must_use]
pub fn piece_path(folder: &Path, piece: usize, extension: &str) -> PathBuf {
    folder.join(format!("piece-{piece:05}.{extension}"))
}

/// Removes a folder of pieces that killed processes left, unless a process works in it.
///
/// # Errors
/// Names the file that cannot be removed.
pub fn remove_leftover(folder: &Path) -> Result<(), Error> {
    match File::open(folder) {
        Ok(open) if open.try_lock().is_ok() => empty(folder),
        _ => Ok(()),
    }
}

/// Removes the folders of pieces of `result` with any key in which no process works.
///
/// # Errors
/// Names the file that cannot be removed.
pub fn remove_leftovers(result: &Path) -> Result<(), Error> {
    let start = format!("{}.", result.file_name().unwrap_or_default().to_string_lossy());
    let is_key =
        |text: &str| text.len() == KEY_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let around = fs::read_dir(result.parent().unwrap_or(Path::new("")));
    for path in around.into_iter().flatten().flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let key = name.strip_prefix(&start).and_then(|rest| rest.strip_suffix(".partial"));
        if key.is_some_and(is_key) {
            remove_leftover(&path)?;
            if !path.exists() {
                // Version 0.1.0 had its lock file next to the folder.
                crate::remove(&path.with_extension("lock"))?;
            }
        }
    }
    Ok(())
}

/// Empties and removes a folder. The lock goes last: until then no other process merges.
fn empty(folder: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(folder).map_err(crate::io_error("read", folder))?;
    for entry in entries {
        let path = entry.map_err(crate::io_error("read", folder))?.path();
        if !path.ends_with(LOCK) {
            crate::remove(&path)?;
        }
    }
    crate::remove(&folder.join(LOCK))?;
    crate::remove(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &str) -> Key {
        Key::new([("batch size", value), ("names", "a b")])
    }

    #[test]
    fn keys_differ_by_name_and_by_any_division_of_the_text() {
        let (one, two) = (key("1"), key("2"));
        assert_eq!(one.differences(&two), ["batch size: 2 there, 1 here"]);
        assert_eq!(one.without("names").changed_names(&two), ["batch size", "names"]);
        let keys = [Key::new([("a", "bc")]), Key::new([("ab", "c")]), Key::new([("abc", "")])];
        assert_ne!(keys[0].sha256(), keys[1].sha256());
        assert_ne!(keys[1].sha256(), keys[2].sha256());
    }

    #[test]
    fn a_json_value_is_read_back_by_its_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("captions.json");
        write_json(&path, &key("1"), &vec![3, 4]).unwrap();
        assert_eq!(read_json::<Vec<u32>>(&path, &key("1")).unwrap(), Some(vec![3, 4]));
        assert_eq!(read_json::<Vec<u32>>(&path, &key("2")).unwrap(), None);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace('3', "5")).unwrap();
        assert!(read_json::<Vec<u32>>(&path, &key("1")).is_err());
    }

    #[test]
    fn a_folder_is_made_once_and_again_where_it_is_damaged() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("some/key");
        fs::create_dir_all(path.with_added_extension("partial")).unwrap();
        let made = std::sync::atomic::AtomicUsize::new(0);
        let make = || {
            folder(&path, |partial| {
                made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                crate::write(&partial.join("a"), b"whole")
            })
            .unwrap();
            made.load(std::sync::atomic::Ordering::Relaxed)
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(make);
            }
        });
        assert_eq!(make(), 1);
        fs::write(path.join("a"), "damaged").unwrap();
        assert_eq!(make(), 2);
        assert_eq!(fs::read(path.join("a")).unwrap(), b"whole");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2, "it and its lock");
    }

    #[test]
    fn pieces_of_another_key_are_refused_and_a_bad_key_is_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = Pieces::folder_of(&root.path().join("out"));
        drop(Pieces::open(&folder, &key("1")).unwrap());
        let error = Pieces::open(&folder, &key("2")).unwrap_err().to_string();
        assert!(error.contains("batch size: 1 there, 2 here") && error.contains("hint"), "{error}");
        fs::write(folder.join(KEY), "{").unwrap();
        let error = Pieces::open(&folder, &key("1")).unwrap_err().to_string();
        assert!(error.contains("key.json") && error.contains("start over"), "{error}");
    }

    #[test]
    fn pieces_are_claimed_merged_by_one_and_removed() {
        let root = tempfile::tempdir().unwrap();
        let folder = Pieces::folder_of(&root.path().join("out"));
        let [one, two] = [(); 2].map(|()| Pieces::open(&folder, &key("1")).unwrap());
        let claimed = one.claim(0).unwrap();
        assert!(matches!(two.claim(0), Err(Error::Locked(_))));
        two.claim(1).unwrap();
        drop(claimed);
        let lock = one.lock().unwrap().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| two.lock().unwrap().is_none());
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(!waiting.is_finished());
            one.remove(lock).unwrap();
            assert!(waiting.join().unwrap(), "the other one has merged");
        });
        assert!(two.lock().unwrap().is_none());
        assert!(!folder.exists());
    }

    #[test]
    fn only_leftovers_in_which_nobody_works_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("out");
        let [left, used] = ["1", "2"].map(|value| {
            let folder = Pieces::folder_of_key(&out, &key(value));
            Pieces::open(&folder, &key(value)).unwrap()
        });
        let left_folder = left.folder().to_owned();
        drop(left);
        fs::create_dir(root.path().join("out.mine.partial")).unwrap();
        remove_leftovers(&out).unwrap();
        assert!(!left_folder.exists() && used.folder().exists());
        assert!(root.path().join("out.mine.partial").exists());
    }
}
