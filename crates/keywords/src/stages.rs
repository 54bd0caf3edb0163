//! The stages of a keywords folder: each file with what it was made from, so that only what changed is
//! made again.
//!
//! ```text
//! FOLDER/
//!   all-labels.json        all words of the captions
//!   labels.json            without near-synonyms
//!   encyclopedia.json      filed under categories
//!   made/NAME.json         what NAME was made from, and its own digest
//! ```

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::files::{self, sha256};

/// The folder's file of all labels.
pub const ALL_LABELS: &str = "all-labels.json";
/// The folder's file of the labels that are kept.
pub const LABELS: &str = "labels.json";
/// The folder's encyclopedia.
pub const ENCYCLOPEDIA: &str = "encyclopedia.json";

/// How names end of what is found so far.
const PARTIAL: &str = ".partial.json";

/// What a file was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    /// Names and values, such as digests of what was read.
    from: Vec<(String, String)>,
    /// SHA-256 of the file.
    sha256: String,
}

/// A folder of keywords.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// A folder that exists or will.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// One of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn made(&self, name: &str) -> PathBuf {
        self.path.join("made").join(name)
    }

    /// Whether `name` is there, made from just this, and as it was made.
    ///
    /// # Errors
    /// When somebody has changed it since, which is not to be overwritten.
    pub fn has(&self, name: &str, from: &[(&str, String)]) -> Result<bool, Error> {
        let path = self.file(name);
        let Ok(bytes) = std::fs::read(&path) else { return Ok(false) };
        let Ok(made) = std::fs::read(self.made(name)) else {
            return Err(Error::file(
                &path,
                "was not made here; choose another --out, or move it away",
            ));
        };
        // What is said of a file that was being replaced when the process was killed does not count.
        let Ok(made) = serde_json::from_slice::<Made>(&made) else { return Ok(false) };
        if made.sha256 != sha256(&bytes) {
            return Err(Error::file(
                &path,
                "was changed since it was made, and is not overwritten; move it away, or name it in place of a built one",
            ));
        }
        Ok(made.from == owned(from))
    }

    /// Writes `name` by `write`, and then what it was made from.
    ///
    /// # Errors
    /// Names the file.
    pub fn make(
        &self,
        name: &str,
        from: &[(&str, String)],
        write: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = self.file(name);
        durable::create_dir_all(&self.path.join("made"))?;
        // Killed between the two files, the next run must not take the new one for somebody's change.
        files::write(&self.made(name), &"being made")?;
        write(&path)?;
        let bytes = std::fs::read(&path).map_err(|error| Error::file(&path, error.to_string()))?;
        files::write(&self.made(name), &Made { from: owned(from), sha256: sha256(&bytes) })
    }

    /// What an earlier process found of a long stage, known by what it is made from.
    #[must_use]
    pub fn partial<T: DeserializeOwned>(&self, key: &str) -> Vec<T> {
        let found = std::fs::read(self.partial_file(key));
        found.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Keeps what was found so far of a long stage.
    ///
    /// # Errors
    /// Names the file.
    pub fn keep_partial<T: Serialize>(&self, key: &str, found: &[T]) -> Result<(), Error> {
        durable::create_dir_all(&self.path.join("made"))?;
        files::write(&self.partial_file(key), &found)
    }

    /// Forgets all of that, where the stage is made.
    pub fn forget_partials(&self) {
        let files = std::fs::read_dir(self.path.join("made")).into_iter().flatten().flatten();
        for path in files.map(|entry| entry.path()) {
            if path.to_string_lossy().ends_with(PARTIAL) {
                // Left behind it does no harm.
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn partial_file(&self, key: &str) -> PathBuf {
        self.made(&format!("{key}{PARTIAL}"))
    }
}

fn owned(from: &[(&str, String)]) -> Vec<(String, String)> {
    from.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_made_again_only_when_its_inputs_change() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path());
        let from = |value: &str| [("captions", value.to_owned())];
        let write = |path: &Path| files::write(path, &["a"]);
        assert!(!folder.has(LABELS, &from("1")).unwrap());
        folder.make(LABELS, &from("1"), write).unwrap();
        assert!(folder.has(LABELS, &from("1")).unwrap());
        assert!(!folder.has(LABELS, &from("2")).unwrap());

        // Killed before it was said what the new file is made from.
        let stopped = folder.make(LABELS, &from("2"), |path| {
            files::write(path, &["b"])?;
            Err(Error::Mismatch("killed".into()))
        });
        assert!(stopped.is_err());
        assert!(!folder.has(LABELS, &from("2")).unwrap());
        folder.make(LABELS, &from("2"), write).unwrap();
        assert!(folder.has(LABELS, &from("2")).unwrap());

        assert!(folder.partial::<usize>("x").is_empty());
        folder.keep_partial("x", &[3, 1]).unwrap();
        assert_eq!(folder.partial::<usize>("x"), [3, 1]);
        folder.forget_partials();
        assert!(folder.partial::<usize>("x").is_empty());

        std::fs::write(folder.file(LABELS), "[\"mine\"]").unwrap();
        let error = folder.has(LABELS, &from("2")).unwrap_err().to_string();
        assert!(error.contains("labels.json") && error.contains("changed"), "{error}");
    }
}
