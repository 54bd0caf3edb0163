//! The files of a judge suite.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Error;

/// Copies from which the published figures come out here.
const KNOWN: [(&str, &str); 2] = [
    ("ExpertAnnotations.txt", "56c2b1a9e1a46ba73b8b151abd7c3c8b1676fbacadb559d0c2eb6524b166cf4f"),
    ("Flickr8k.token.txt", "9b8608b02da9040581f1e3d4c8738db1fb6f63314342100432adc3962f77d71a"),
];

/// A file of a judge suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuiteFile {
    /// Name in the folder.
    pub name: &'static str,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// True for the copy from which the published figures come out; absent where none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_known_copy: Option<bool>,
}

/// The folder of a judge suite.
pub(super) struct Files<'a> {
    pub(super) folder: &'a Path,
    /// Instruction about the files that belong there.
    pub(super) hint: &'static str,
    /// The files that were found.
    pub(super) found: Vec<SuiteFile>,
}

impl Files<'_> {
    /// Returns the path of the first of these files that is there.
    ///
    /// # Errors
    /// [`Error::MissingSuiteFile`] if none is.
    pub(super) fn find(&mut self, names: &[&'static str]) -> Result<PathBuf, Error> {
        let found = names.iter().find(|name| self.folder.join(name).exists());
        let Some(&name) = found else {
            let (folder, file) = (self.folder.to_owned(), names.join(" or "));
            return Err(Error::MissingSuiteFile { folder, file, hint: self.hint });
        };
        let path = self.folder.join(name);
        let sha256 = durable::digests::of_file(&path)?;
        let known = KNOWN.iter().find(|(known, _)| *known == name);
        let is_known_copy = known.map(|(_, digest)| *digest == sha256);
        self.found.push(SuiteFile { name, sha256, is_known_copy });
        Ok(path)
    }
}
