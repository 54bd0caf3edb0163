//! The hub's cache on disk, in the layout of Python's `huggingface_hub`, which shares the files:
//!
//! ```text
//! models--OWNER--NAME/
//!   blobs/ETAG                    contents; ETAG.incomplete while they are fetched
//!   refs/REVISION                 commit of a branch or tag
//!   snapshots/COMMIT/path/FILE    link to the blob
//! .locks/models--OWNER--NAME/ETAG.lock
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use progress::Progress;

use crate::Error;
use crate::reference::is_commit;

/// A repository's folder in the cache.
#[derive(Debug)]
pub(crate) struct CachedRepository {
    folder: PathBuf,
    locks: PathBuf,
}

impl CachedRepository {
    pub fn new(cache: &Path, repository: &str) -> Self {
        let name = format!("models--{}", repository.replace('/', "--"));
        Self { folder: cache.join(&name), locks: cache.join(".locks").join(name) }
    }

    /// Returns the folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Returns the commit of `revision` if the cache knows it.
    pub fn commit(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_ascii_lowercase());
        }
        let commit = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Returns the commits that have a snapshot folder.
    pub fn commits(&self) -> impl Iterator<Item = String> {
        let entries = fs::read_dir(self.folder.join("snapshots")).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| is_commit(name))
    }

    /// Records the commit of a branch or tag.
    pub fn record_commit(&self, revision: &str, commit: &str) -> Result<(), Error> {
        if is_commit(revision) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        create_parent(&path)?;
        Ok(durable::write_if_other(&path, commit.as_bytes())?)
    }

    /// Waits until no other process fetches the blob. `huggingface_hub` takes the same lock.
    pub fn lock(&self, etag: &str, progress: &mut dyn Progress) -> Result<durable::Lock, Error> {
        durable::create_dir_all(&self.locks)?;
        lock(&self.locks.join(format!("{etag}.lock")), progress)
    }

    /// Links the blob as `file` in the snapshot of `commit`. The caller holds the blob's lock.
    pub fn link(&self, etag: &str, commit: &str, file: &str) -> Result<(), Error> {
        let path = self.snapshot(commit).join(file);
        create_parent(&path)?;
        let up = "../".repeat(1 + file.split('/').count());
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs::read_link(&path).is_ok_and(|present| present == target) {
            return Ok(());
        }
        durable::remove(&path)?;
        // Some file systems have no symbolic links.
        symlink(&target, &path).or_else(|_| copy(&self.blob(etag), &path))
    }
}

/// Takes the lock at `path`, waiting while another process holds it.
pub(crate) fn lock(path: &Path, progress: &mut dyn Progress) -> Result<durable::Lock, Error> {
    match durable::lock(path) {
        Err(durable::Error::Locked(_)) => {
            let path_text = printable_path(path);
            progress.note(&format!("waiting for another process that uses {path_text}"));
            Ok(durable::wait_for_lock(path)?)
        }
        lock => Ok(lock?),
    }
}

/// Copies a file; the copy is whole or absent.
pub(crate) fn copy(source: &Path, target: &Path) -> Result<(), Error> {
    let mut file = File::open(source).map_err(Error::io("read", source))?;
    Ok(durable::write_with(target, |out| io::copy(&mut file, out).map(drop))?)
}

pub(crate) fn create_parent(path: &Path) -> Result<(), Error> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => Ok(durable::create_dir_all(parent)?),
        _ => Ok(()),
    }
}
