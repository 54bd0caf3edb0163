//! Temporary files that are filled next to their destination.
//!
//! A temporary file is locked while it is filled. The lock tells a file that a running process
//! writes from the leftover of a killed one, which is reused.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A locked temporary file, empty at first. Removed when dropped unless it is kept.
pub(crate) struct Temporary {
    path: PathBuf,
    file: File,
    is_kept: bool,
}

impl Temporary {
    /// Opens the temporary file for `destination`, waiting while another process writes it.
    pub(crate) fn beside(destination: &Path) -> io::Result<Self> {
        let path = destination.with_added_extension("partial");
        // Some file systems have no locks, and a leftover may belong to another user.
        let (path, file) = if let Ok(file) = open_locked(&path) {
            (path, file)
        } else {
            let own = destination.with_added_extension(format!("{}.partial", std::process::id()));
            let file = File::create(&own)?;
            (own, file)
        };
        Ok(Self { path, file, is_kept: false })
    }

    /// Returns the file to fill. The lock is held until this `Temporary` is dropped.
    pub(crate) fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Marks the file as kept, after its rename to the destination.
    pub(crate) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_kept {
            // The destination is intact. A leftover would only take space.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn open_locked(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        // The previous holder of the lock may have renamed or removed the opened file.
        if is_at(&file, path)? {
            file.set_len(0)?;
            return Ok(file);
        }
    }
}

/// Returns true if `path` still is the open file or folder `file`.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
