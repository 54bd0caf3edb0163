//! A folder of keyword files. Each file records its sources, so that only outdated ones are
//! rebuilt.
//!
//! ```text
//! FOLDER/
//!   all-labels.json        all words of the captions
//!   labels.json            without near-synonyms
//!   encyclopedia.json      filed under categories
//!   partial/KEY.json       results of an interrupted long stage
//! ```
//!
//! A run folder keeps the labels and the encyclopedia of its keywords in such a folder too.

use std::path::{Path, PathBuf};

use durable::kept::Key;
use durable::sealed;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use words::Label;

use crate::encyclopedia::Encyclopedia;
use crate::error::Error;
use crate::files;

/// File name of all labels.
pub const ALL_LABELS: &str = "all-labels.json";
/// File name of the labels without near-synonyms.
pub const LABELS: &str = "labels.json";
/// File name of the encyclopedia.
pub const ENCYCLOPEDIA: &str = "encyclopedia.json";

/// Folder of keyword files.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// Results of an interrupted stage.
#[derive(Serialize, Deserialize)]
struct Partial<T> {
    found: T,
}

impl Folder {
    /// Returns the folder at `path`, which need not exist.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Returns the path of one of the folder's files.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads the sources of a file; `None` if the file does not exist.
    ///
    /// # Errors
    /// Fails if the file is damaged or was not made by capsmith: neither may be overwritten.
    pub fn sources(&self, name: &str) -> Result<Option<Key>, Error> {
        let path = self.file(name);
        if !path.exists() {
            return Ok(None);
        }
        let key = if name == ENCYCLOPEDIA { files::ENCYCLOPEDIA } else { files::LABELS };
        Ok(Some(files::read_own(&path, key)?.0))
    }

    /// Reads the labels in `name`, which must be a file that capsmith wrote.
    ///
    /// # Errors
    /// Names the file.
    pub fn labels(&self, name: &str) -> Result<Vec<Label>, Error> {
        let path = self.file(name);
        files::labels(&path, files::read_own(&path, files::LABELS)?.1)
    }

    /// Reads the encyclopedia, which must be a file that capsmith wrote.
    ///
    /// # Errors
    /// Names the file.
    pub fn encyclopedia(&self) -> Result<Encyclopedia, Error> {
        let path = self.file(ENCYCLOPEDIA);
        Encyclopedia::parse(&path, &files::read_own(&path, files::ENCYCLOPEDIA)?.1)
    }

    /// Writes `name` by `write`, creating the folder if needed.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(
        &self,
        name: &str,
        write: impl FnOnce(&Path) -> Result<(), Error>,
    ) -> Result<(), Error> {
        durable::create_dir_all(&self.path)?;
        write(&self.file(name))
    }

    /// Returns the results of an interrupted stage; empty if they are missing or damaged.
    ///
    /// `key` identifies the stage's sources.
    pub(crate) fn partial<T: DeserializeOwned>(&self, key: &str) -> Vec<T> {
        let found = sealed::read_json(&self.partial_file(key));
        found.map_or_else(|_| Vec::new(), |Partial { found }| found)
    }

    /// Writes the results so far of a long stage.
    ///
    /// # Errors
    /// Names the file.
    pub(crate) fn write_partial<T: Serialize>(&self, key: &str, found: &[T]) -> Result<(), Error> {
        durable::create_dir_all(&self.partials())?;
        Ok(sealed::write_json(&self.partial_file(key), &Partial { found })?)
    }

    /// Removes all results of interrupted stages, once the stage is finished.
    ///
    /// # Errors
    /// Names the folder.
    pub(crate) fn remove_partials(&self) -> Result<(), Error> {
        Ok(durable::remove(&self.partials())?)
    }

    fn partials(&self) -> PathBuf {
        self.path.join("partial")
    }

    fn partial_file(&self, key: &str) -> PathBuf {
        self.partials().join(format!("{key}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Categories, LabelSource, Synonyms, build};
    use progress::Silent;

    #[test]
    fn stages_are_rebuilt_only_when_their_sources_change() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::new(directory.path());
        let captions = ["a dog runs".to_owned(), "two dogs run on grass".to_owned()];
        let build = |fingerprint: &str| {
            let source = LabelSource::Captions {
                captions: captions.iter().collect(),
                fingerprint: fingerprint.to_owned(),
            };
            let methods = (Synonyms::Wordnet, Categories::Wordnet);
            let written = build(&folder, source, &methods.0, &methods.1, &mut Silent);
            let name = |file: PathBuf| file.file_name().unwrap().to_str().unwrap().to_owned();
            written.map(|files| files.into_iter().map(name).collect::<Vec<_>>())
        };
        assert_eq!(build("1").unwrap(), [ALL_LABELS, LABELS, ENCYCLOPEDIA]);
        assert!(build("1").unwrap().is_empty());
        assert_eq!(build("2").unwrap(), [ALL_LABELS], "the same labels");

        // A file of version 0.1.0 has the program's version in place of the results' version.
        let labels = folder.labels(ALL_LABELS).unwrap();
        let old = Key::new([("captions", "2"), ("capsmith", "0.1.0")]);
        files::write_labels(&folder.file(ALL_LABELS), &old, &labels).unwrap();
        assert!(build("2").unwrap().is_empty());

        let refused = |expected: &str| {
            for error in [build("2").unwrap_err(), folder.labels(LABELS).unwrap_err()] {
                let error = error.to_string();
                assert!(error.contains("labels.json") && error.contains(expected), "{error}");
            }
        };
        let whole = std::fs::read_to_string(folder.file(LABELS)).unwrap();
        std::fs::write(folder.file(LABELS), whole.replace("dog", "dof")).unwrap();
        refused("do not match its digest");
        std::fs::write(folder.file(LABELS), "[[\"mine\", \"NOUN\", 1]]").unwrap();
        refused("no digest");
    }

    #[test]
    fn a_damaged_partial_result_counts_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::new(directory.path());
        assert!(folder.partial::<usize>("x").is_empty());
        folder.write_partial("x", &[3, 1]).unwrap();
        assert_eq!(folder.partial::<usize>("x"), [3, 1]);
        let file = folder.partial_file("x");
        let whole = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, whole.replace('3', "2")).unwrap();
        assert!(folder.partial::<usize>("x").is_empty());
        folder.remove_partials().unwrap();
        assert!(!folder.partials().exists());
    }
}
