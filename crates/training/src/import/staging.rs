//! What is written is whole or absent: filled beside its place, and moved there.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Held by the process that fills the folder. One without an owner was left by a process that was
/// killed.
const LOCK: &str = "lock";

/// Refuses a place where something is.
pub(crate) fn refuse_existing(out: &Path) -> Result<(), Error> {
    if fs::symlink_metadata(out).is_err() {
        return Ok(());
    }
    Err(Error::RunFile {
        path: out.to_owned(),
        reason: "exists, and nothing is overwritten; choose another --out, or move it away".into(),
    })
}

/// A folder `PLACE.unfinished` that is filled beside its place, and goes when it is dropped before it
/// is kept.
pub(crate) struct Staging {
    pub path: PathBuf,
    /// Folders around it that were not there before, the innermost first.
    made: Vec<PathBuf>,
    /// None once nothing is to be removed.
    lock: Option<durable::Lock>,
}

impl Staging {
    /// Makes the folder, and empties it of what a killed process left.
    ///
    /// # Errors
    /// Another process fills it, or it is somebody's own.
    pub(crate) fn beside(place: &Path) -> Result<Self, Error> {
        let mut name = OsString::from(place.file_name().ok_or_else(|| Error::RunFile {
            path: place.to_owned(),
            reason: "this names no folder; give --out a name".into(),
        })?);
        name.push(".unfinished");
        let path = place.with_file_name(name);
        let around = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        let made = around.take_while(|folder| !folder.exists()).map(Path::to_owned).collect();
        let mut staging = Self { path, made, lock: None };
        durable::create_dir_all(&staging.path)?;
        let entries = staging.entries()?;
        let lock = staging.path.join(LOCK);
        if !entries.is_empty() && !entries.contains(&lock) {
            return Err(Error::RunFile {
                path: staging.path.clone(),
                reason: "is in the way and was not made by capsmith; move it away".into(),
            });
        }
        staging.lock = Some(durable::lock(&lock)?);
        for left in entries.iter().filter(|&entry| *entry != lock) {
            durable::remove(left)?;
        }
        Ok(staging)
    }

    fn entries(&self) -> Result<Vec<PathBuf>, Error> {
        let entries = fs::read_dir(&self.path).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()
        });
        entries
            .map_err(|error| Error::RunFile { path: self.path.clone(), reason: error.to_string() })
    }

    /// Moves the folder to its place.
    pub(crate) fn keep(mut self, place: &Path) -> Result<(), Error> {
        durable::replace(&self.path, place)?;
        self.lock = None;
        Ok(durable::remove(&place.join(LOCK))?)
    }

    /// Moves a file of the folder, which goes, to its place.
    pub(crate) fn keep_file(self, file: &Path, place: &Path) -> Result<(), Error> {
        Ok(durable::replace(file, place)?)
    }
}

impl Drop for Staging {
    /// Whatever cannot be removed: the error that led here is the one to tell.
    fn drop(&mut self) {
        if self.lock.is_some() {
            let _ = fs::remove_dir_all(&self.path);
        }
        for folder in &self.made {
            // Stays where it holds what was kept.
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
    fn what_a_killed_process_left_is_removed_and_what_is_at_work_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("run");
        let unfinished = folder.path().join("run.unfinished");
        fs::create_dir_all(unfinished.join("checkpoints/step-000000000.partial")).unwrap();
        fs::write(unfinished.join("lock"), "").unwrap();
        fs::write(unfinished.join("checkpoints/half"), "half").unwrap();
        let staging = Staging::beside(&place).unwrap();
        assert_eq!(names(&staging.path), ["lock"]);
        fs::write(staging.path.join("whole"), "whole").unwrap();

        let error = Staging::beside(&place).err().unwrap().to_string();
        assert!(error.contains("in use by another capsmith process"), "{error}");
        assert_eq!(names(&unfinished), ["lock", "whole"]);
        staging.keep(&place).unwrap();
        assert_eq!(
            (names(folder.path()), names(&place)),
            (vec!["run".to_owned()], vec!["whole".to_owned()])
        );
    }

    #[test]
    fn a_folder_that_is_somebodys_own_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("run.unfinished");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("notes.txt"), "mine").unwrap();
        let error = Staging::beside(&folder.path().join("run")).err().unwrap().to_string();
        assert!(error.contains("run.unfinished") && error.contains("move it away"), "{error}");
        assert_eq!(names(&own), ["notes.txt"]);
    }

    #[test]
    fn a_file_is_moved_and_its_folder_goes() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a/b/all.safetensors");
        let staging = Staging::beside(&place).unwrap();
        let file = staging.path.join("file");
        fs::write(&file, "whole").unwrap();
        staging.keep_file(&file, &place).unwrap();
        assert_eq!(names(place.parent().unwrap()), ["all.safetensors"]);
        drop(Staging::beside(&folder.path().join("c/d/run")).unwrap());
        assert_eq!(names(folder.path()), ["a"]);
    }
}
