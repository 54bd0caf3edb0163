//! The error of a run's logs.

use std::fmt;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;

/// A record that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("metrics in {}: {reason}", printable_path(path))]
pub struct MetricsError {
    /// The file concerned.
    pub path: PathBuf,
    /// Reason for the failure.
    pub reason: String,
}

pub(super) fn failed<E: fmt::Display>(path: &Path) -> impl FnOnce(E) -> MetricsError {
    let path = path.to_owned();
    move |reason| MetricsError { path, reason: reason.to_string() }
}
