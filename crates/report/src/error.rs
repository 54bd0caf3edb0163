//! What can be wrong with a run that is to be shown.

use std::path::PathBuf;

use foreign_text::printable_path;

/// A run that cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is not a run, or its configuration cannot be read.
    #[error(transparent)]
    Run(#[from] training::Error),
    /// A record of training is damaged.
    #[error(transparent)]
    Track(#[from] training::track::TrackError),
    /// Captions or references of an evaluation are damaged.
    #[error(transparent)]
    Captions(#[from] caption_metrics::Error),
    /// The keywords are damaged.
    #[error(transparent)]
    Keywords(#[from] keywords::Error),
    /// The data set that the pictures are of is damaged.
    #[error(transparent)]
    DataSet(#[from] flickr::LoadError),
    /// A file cannot be used.
    #[error("{}: {reason}", printable_path(path))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
}
