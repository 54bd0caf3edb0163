//! Errors of reading a run for a report.

use std::path::PathBuf;

use foreign_text::printable_path;

/// Error of reading a run for a report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is not a run, or its config or keywords cannot be read.
    #[error(transparent)]
    Run(#[from] runs::Error),
    /// A training record is damaged.
    #[error(transparent)]
    Metrics(#[from] runs::metrics::MetricsError),
    /// The captions or references of an evaluation are damaged.
    #[error(transparent)]
    Captions(#[from] caption_metrics::Error),
    /// The data set of the images is damaged.
    #[error(transparent)]
    DataSet(#[from] datasets::LoadError),
    /// A file cannot be used.
    #[error("{}: {reason}", printable_path(path))]
    File {
        /// File.
        path: PathBuf,
        /// Reason, and what to do.
        reason: String,
    },
}
