//! Error of reading or writing features.

use std::path::{Path, PathBuf};

use foreign_text::printable_path;

/// Error of one file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", printable_path(path))]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// Reason, with a hint where there is one.
    pub reason: String,
}

impl Error {
    pub(crate) fn new(path: &Path, reason: impl Into<String>) -> Self {
        Self { path: path.to_owned(), reason: reason.into() }
    }
}
