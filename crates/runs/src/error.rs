//! Errors of run folders and their files.

use std::path::{Path, PathBuf};

use foreign_text::printable_path;

use crate::metrics::MetricsError;

/// Error of a run folder or of one of its files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The config cannot be used.
    #[error(transparent)]
    Config(#[from] recipes::ConfigError),
    /// Metrics cannot be read or written.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A file cannot be written.
    #[error(transparent)]
    Durable(#[from] durable::Error),
    /// A file cannot be read, or has unexpected contents.
    #[error("{}: {reason}", printable_path(path))]
    File {
        /// The file.
        path: PathBuf,
        /// Reason for the error, with a hint.
        reason: String,
    },
    /// The newest checkpoint is damaged; no older one replaces it silently.
    #[error(
        "{source}\nhint: capsmith train --resume resumes from the checkpoint before it; to use that checkpoint without training, move the damaged folder out of checkpoints/"
    )]
    DamagedCheckpoint {
        /// Error of the damaged file.
        source: Box<Error>,
    },
}

impl Error {
    pub(crate) fn file(path: &Path, reason: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), reason: reason.into() }
    }
}
