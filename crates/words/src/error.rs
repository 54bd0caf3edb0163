//! What can go wrong with a tokenizer, and where.

use std::io;
use std::path::PathBuf;

use foreign_text::printable_path;

/// A tokenizer that could not be read, made, used or written.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The folder has none of the files that make a tokenizer.
    #[error(
        "{} has no tokenizer: it needs tokenizer.json, or both vocab.json and merges.txt",
        printable_path(.0)
    )]
    Missing(PathBuf),
    /// The operating system would not read the file.
    #[error("cannot read {}: {source}", printable_path(path))]
    Read {
        /// The file concerned.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not JSON, or was cut short.
    #[error(
        "{} is not valid JSON, perhaps cut short ({source}); copy it again",
        printable_path(path)
    )]
    Json {
        /// The file concerned.
        path: PathBuf,
        /// Where the parser stopped.
        source: serde_json::Error,
    },
    /// The file can be parsed, but no tokenizer can be made of it.
    #[error("{}: {problem}", printable_path(path))]
    Invalid {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong, naming the token, id or line.
        problem: String,
    },
    /// A vocabulary to be trained is smaller than the byte alphabet that it must hold.
    #[error(
        "a vocabulary of {vocab_size} tokens cannot be trained: the bytes and special tokens alone take {least}"
    )]
    VocabularyTooSmall {
        /// A finished file of this plan.
        vocab_size: usize,
        /// The least that there can be.
        least: usize,
    },
    /// The `tokenizers` library refused, which checked files do not make it do.
    #[error("the tokenizers library failed: {0}")]
    Library(String),
    /// The tokenizer could not be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
}

impl TokenizerError {
    /// Passes on an error of the `tokenizers` library, whose error type is any error.
    #[allow(clippy::needless_pass_by_value)] // for `map_err(TokenizerError::library)`
    pub(crate) fn library(source: tokenizers::Error) -> Self {
        Self::Library(source.to_string())
    }
}
