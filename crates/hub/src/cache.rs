//! The hub's cache on disk, in the layout of Python's `huggingface_hub`, which shares the files:
//!
//! ```text
//! models--OWNER--NAME/
//!   blobs/ETAG                    contents; ETAG.incomplete while they are fetched
//!   refs/REVISION                 the commit that a branch or tag was
//!   snapshots/COMMIT/path/FILE    a link to the blob
//! .locks/models--OWNER--NAME/ETAG.lock
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::reference::is_commit;
use crate::{Error, Progress};
use foreign_text::printable_path;

/// A repository's folder in the cache.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    folder: PathBuf,
    locks: PathBuf,
}

impl Repository {
    pub fn new(cache: &Path, id: &str) -> Self {
        let name = format!("models--{}", id.replace('/', "--"));
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
    pub fn commits(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.folder.join("snapshots")) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| is_commit(name)).collect()
    }

    /// Records the commit of a branch or tag.
    pub fn remember(&self, revision: &str, commit: &str) -> Result<(), Error> {
        if is_commit(revision) || self.commit(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(revision);
        create_parent(&path)?;
        Ok(durable::write(&path, commit.as_bytes())?)
    }

    /// Waits until no other process fetches the blob. `huggingface_hub` takes the same lock.
    pub fn lock(&self, etag: &str, progress: &mut dyn Progress) -> Result<durable::Lock, Error> {
        durable::create_dir_all(&self.locks)?;
        lock(&self.locks.join(format!("{etag}.lock")), progress)
    }

    /// Links the blob as `file` in the snapshot of `commit`.
    pub fn link(&self, etag: &str, commit: &str, file: &str) -> Result<PathBuf, Error> {
        let path = self.snapshot(commit).join(file);
        create_parent(&path)?;
        let up = "../".repeat(2 + file.split('/').count() - 1);
        let target = PathBuf::from(format!("{up}blobs/{etag}"));
        if fs::read_link(&path).is_ok_and(|present| present == target) {
            return Ok(path);
        }
        let temporary = temporary(&path);
        // A hard link if symbolic links are not possible; a copy if neither is.
        let made = symlink(&target, &temporary)
            .or_else(|_| fs::hard_link(self.blob(etag), &temporary))
            .or_else(|_| fs::copy(self.blob(etag), &temporary).map(drop));
        let placed = made
            .map_err(|error| Error::write(&path, error, true))
            .and_then(|()| Ok(durable::replace(&temporary, &path)?));
        if placed.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&temporary);
        }
        placed.map(|()| path)
    }
}

/// Takes the lock at `path`, waiting while another process holds it.
pub(crate) fn lock(path: &Path, progress: &mut dyn Progress) -> Result<durable::Lock, Error> {
    let mut told = false;
    loop {
        match durable::lock(path) {
            Err(durable::Error::Locked(_)) => {}
            result => return Ok(result?),
        }
        if !told {
            progress
                .say(&format!("another process is at work on {}; waiting", printable_path(path)));
            told = true;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Returns a name beside `path` that no other process uses.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.link", std::process::id()));
    path.with_file_name(name)
}

pub(crate) fn create_parent(path: &Path) -> Result<(), Error> {
    match path.parent() {
        Some(parent) if !parent.is_dir() => Ok(durable::create_dir_all(parent)?),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn symlink(target: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

#[cfg(not(unix))]
fn symlink(_target: &Path, _path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
