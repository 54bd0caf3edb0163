//! Errors of run folders and their files.

use std::path::{Path, PathBuf};

use foreign_text::printable_path;

use crate::metrics::MetricsError;

/// A run folder, or a file of it, that cannot be used.
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
    /// A file cannot be read, or is not what it should be.
    #[error("{}: {reason}", printable_path(path))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The newest checkpoint is damaged, and an older one is not taken in its place.
    #[error(
        "{source}\nhint: capsmith train --resume resumes from the checkpoint before it; to use that checkpoint without training, move the damaged folder out of checkpoints/"
    )]
    DamagedCheckpoint {
        /// The file, and what is wrong with it.
        source: Box<Error>,
    },
}

impl Error {
    pub(crate) fn file(path: &Path, reason: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), reason: reason.into() }
    }
}
