//! Errors of making, reading and using keywords.

use std::path::{Path, PathBuf};

use foreign_text::printable_path;

/// Error of making, reading or using keywords.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or has another format.
    #[error("{}: {reason}", printable_path(path))]
    File {
        /// File.
        path: PathBuf,
        /// Reason, and what to do.
        reason: String,
    },
    /// Inputs do not fit together.
    #[error("{0}")]
    Mismatch(String),
    /// CLIP's text tower, BART or a sentence encoder cannot be used.
    #[error(transparent)]
    Model(#[from] networks::ModelError),
    /// A tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] words::TokenizerError),
    /// A pickle cannot be read.
    #[error(transparent)]
    Pickle(#[from] torch_files::Error),
    /// A file cannot be written.
    #[error(transparent)]
    Durable(#[from] durable::Error),
    /// libtorch refused an operation.
    #[error("libtorch: {}", networks::libtorch::reason(.0))]
    Torch(#[from] tch::TchError),
}

impl Error {
    pub(crate) fn file(path: &Path, reason: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), reason: reason.into() }
    }
}
