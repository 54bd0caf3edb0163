//! Folders that are filled beside their place and moved there as a whole.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::temporary::{is_at, named};
use crate::{Error, create_dir_all, io_error, remove, replace};

/// A folder that is filled beside its place, and goes when it is dropped before it is kept. One that a
/// killed process left is emptied and taken over.
#[derive(Debug)]
pub struct StagedFolder {
    path: PathBuf,
    /// Folders around it that were not there before, the innermost first.
    made: Vec<PathBuf>,
    /// The folder itself, locked while it is filled.
    _lock: File,
}

impl StagedFolder {
    /// Makes an empty folder beside `place`.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process fills the same folder; else names the folder.
    pub fn beside(place: &Path) -> Result<Self, Error> {
        let path = named(place, "partial");
        let around = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        let made = around.take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
        let lock = loop {
            create_dir_all(&path)?;
            let folder = File::open(&path).map_err(io_error("open", &path))?;
            match folder.try_lock() {
                Err(TryLockError::WouldBlock) => return Err(Error::Locked(place.to_owned())),
                // Some file systems have no locks; nobody else is seen there.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            if is_at(&folder, &path).map_err(io_error("open", &path))? {
                break folder;
            }
        };
        let staged = Self { path, made, _lock: lock };
        for entry in fs::read_dir(&staged.path).map_err(io_error("read", &staged.path))? {
            remove(&entry.map_err(io_error("read", &staged.path))?.path())?;
        }
        Ok(staged)
    }

    /// Returns where to fill it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the folder to its place.
    ///
    /// # Errors
    /// Names `place`.
    pub fn keep(self, place: &Path) -> Result<(), Error> {
        replace(&self.path, place)
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        // After `keep` there is nothing; after an error, that error is the one to tell.
        let _ = fs::remove_dir_all(&self.path);
        for folder in &self.made {
            // Stays where it holds what was kept.
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leftover_is_emptied_and_a_folder_at_work_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("new/run");
        fs::create_dir_all(folder.path().join("new/run.partial/gpt2")).unwrap();
        fs::write(folder.path().join("new/run.partial/gpt2/vocab.json"), "half").unwrap();
        let staged = StagedFolder::beside(&place).unwrap();
        assert_eq!(fs::read_dir(staged.path()).unwrap().count(), 0);
        assert!(matches!(StagedFolder::beside(&place), Err(Error::Locked(_))));
        fs::write(staged.path().join("a"), "whole").unwrap();
        staged.keep(&place).unwrap();
        assert_eq!(fs::read(place.join("a")).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_left_of_one_that_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let staged = StagedFolder::beside(&folder.path().join("some/where/run")).unwrap();
        fs::write(staged.path().join("a"), "half").unwrap();
        drop(staged);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
