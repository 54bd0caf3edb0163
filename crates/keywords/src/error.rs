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
    /// CLIP's text tower cannot be used.
    #[error(transparent)]
    Clip(#[from] networks::clip::ClipError),
    /// BART or a sentence encoder cannot be used.
    #[error(transparent)]
    TextModel(#[from] networks::TextModelError),
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

/// Fails if the tokenizer in `folder` has more tokens than the model has embeddings.
pub(crate) fn check_vocabulary(folder: &Path, tokens: usize, known: i64) -> Result<(), Error> {
    if tokens as i64 <= known {
        return Ok(());
    }
    Err(Error::Mismatch(format!(
        "the tokenizer in {} has {tokens} tokens, but the model's vocab_size is {known}; the two files are of different models",
        printable_path(folder)
    )))
}
