//! Staging folders: filled next to their destination and moved there as a whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Lock, create_dir_all, io_error, lock, remove, replace};

/// Lock file in a staging folder. It also marks the folder as made by capsmith.
const LOCK: &str = "lock";

/// Staging folder `NAME.unfinished` next to its destination `NAME`.
///
/// It is removed if it is dropped before [`keep`](Self::keep). The staging folder of a killed
/// process is emptied and reused.
#[derive(Debug)]
pub struct StagedFolder {
    path: PathBuf,
    /// Parent folders that this one created, innermost first.
    made: Vec<PathBuf>,
    /// `None` if a drop must not remove the folder.
    lock: Option<Lock>,
}

impl StagedFolder {
    /// Creates an empty staging folder next to `destination`.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process fills the same folder. [`Error::Io`] if the folder was
    /// not made by capsmith. Names the folder.
    pub fn beside(destination: &Path) -> Result<Self, Error> {
        let path = destination.with_added_extension("unfinished");
        let around = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        let made = around.take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
        let mut staged = Self { path, made, lock: None };
        create_dir_all(&staged.path)?;
        let entries = staged.entries()?;
        let lock_file = staged.path.join(LOCK);
        if !entries.is_empty() && !entries.contains(&lock_file) {
            let reason = io::Error::other("it was not made by capsmith; move it away");
            return Err(io_error("fill", &staged.path)(reason));
        }
        staged.lock = Some(lock(&lock_file)?);
        for left in entries.iter().filter(|&entry| *entry != lock_file) {
            remove(left)?;
        }
        Ok(staged)
    }

    fn entries(&self) -> Result<Vec<PathBuf>, Error> {
        let entries = fs::read_dir(&self.path).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()
        });
        entries.map_err(io_error("read", &self.path))
    }

    /// Returns the staging folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the staging folder to `destination`.
    ///
    /// # Errors
    /// Names `destination`.
    pub fn keep(mut self, destination: &Path) -> Result<(), Error> {
        replace(&self.path, destination)?;
        self.lock = None;
        remove(&destination.join(LOCK))
    }

    /// Moves one file of the staging folder to `destination` and removes the folder.
    ///
    /// # Errors
    /// Names `destination`.
    pub fn keep_file(self, file: &Path, destination: &Path) -> Result<(), Error> {
        replace(file, destination)
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        // Failed removals are ignored: the caller already reports the first error.
        if self.lock.is_some() {
            let _ = fs::remove_dir_all(&self.path);
        }
        for folder in &self.made {
            // Fails, as intended, if the folder holds kept files.
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_leftover_is_emptied_and_a_folder_at_work_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("new/run");
        let partial = folder.path().join("new/run.unfinished");
        fs::create_dir_all(partial.join("gpt2")).unwrap();
        fs::write(partial.join(LOCK), "").unwrap();
        fs::write(partial.join("gpt2/vocab.json"), "half").unwrap();
        let staged = StagedFolder::beside(&destination).unwrap();
        assert_eq!(names(staged.path()), [LOCK]);
        assert!(matches!(StagedFolder::beside(&destination), Err(Error::Locked(_))));
        fs::write(staged.path().join("a"), "whole").unwrap();
        staged.keep(&destination).unwrap();
        assert_eq!(names(&destination), ["a"]);
        assert_eq!(names(&folder.path().join("new")), ["run"]);
    }

    #[test]
    fn a_folder_that_is_somebodys_own_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("run.unfinished");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("notes.txt"), "mine").unwrap();
        let error = StagedFolder::beside(&folder.path().join("run")).unwrap_err().to_string();
        assert!(error.contains("run.unfinished") && error.contains("move it away"), "{error}");
        assert_eq!(names(&own), ["notes.txt"]);
    }

    #[test]
    fn a_file_is_moved_and_its_folder_goes() {
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("a/b/all.safetensors");
        let staged = StagedFolder::beside(&destination).unwrap();
        let file = staged.path().join("file");
        fs::write(&file, "whole").unwrap();
        staged.keep_file(&file, &destination).unwrap();
        assert_eq!(names(destination.parent().unwrap()), ["all.safetensors"]);
    }

    #[test]
    fn nothing_is_left_of_one_that_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let staged = StagedFolder::beside(&folder.path().join("some/where/run")).unwrap();
        fs::write(staged.path().join("a"), "half").unwrap();
        drop(staged);
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }
}
