//! Errors of reading, training, using and writing tokenizers.

use std::io;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;

/// Error of reading, building, using or writing a tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The folder lacks the files that make a tokenizer.
    #[error(
        "{} has no tokenizer: it needs tokenizer.json, or both vocab.json and merges.txt",
        printable_path(.0)
    )]
    Missing(PathBuf),
    /// The operating system could not read the file.
    #[error("cannot read {}: {source}", printable_path(path))]
    Read {
        /// File that could not be read.
        path: PathBuf,
        /// Reason that the system gave.
        source: io::Error,
    },
    /// The file is not JSON, or is truncated.
    #[error(
        "{} is not valid JSON, perhaps cut short ({source}); copy it again",
        printable_path(path)
    )]
    Json {
        /// File that could not be parsed.
        path: PathBuf,
        /// Parser's error, with the position where it stopped.
        source: serde_json::Error,
    },
    /// The file is JSON, but does not define a usable tokenizer.
    #[error("{}: {problem}", printable_path(path))]
    Invalid {
        /// File with the problem.
        path: PathBuf,
        /// Description of the problem, naming the token, id or line.
        problem: String,
    },
    /// The requested vocabulary is smaller than the byte alphabet and the special tokens.
    #[error(
        "a vocabulary of {vocab_size} tokens cannot be trained: the bytes and special tokens alone take {least}"
    )]
    VocabularyTooSmall {
        /// Requested vocabulary size.
        vocab_size: usize,
        /// Smallest possible vocabulary size.
        least: usize,
    },
    /// The tokenizer has more tokens than a model has embeddings.
    #[error(
        "the tokenizer in {} has {tokens} tokens, but the model's vocab_size is {known}; the two files are of different models",
        printable_path(folder)
    )]
    OtherModel {
        /// Folder of the tokenizer.
        folder: PathBuf,
        /// Tokens of the tokenizer.
        tokens: usize,
        /// Embeddings of the model.
        known: i64,
    },
    /// The `tokenizers` library failed, which it does not do on checked files.
    #[error("the tokenizers library failed: {0}")]
    Library(String),
    /// The tokenizer could not be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
}

impl TokenizerError {
    /// Converts an error of the `tokenizers` library, whose error type is a boxed `dyn Error`.
    #[allow(clippy::needless_pass_by_value)] // for `map_err(TokenizerError::library)`
    pub(crate) fn library(source: tokenizers::Error) -> Self {
        Self::Library(source.to_string())
    }
}

/// Fails if the tokenizer in `folder` has more tokens than the model has embeddings.
pub fn check_vocabulary(folder: &Path, tokens: usize, known: i64) -> Result<(), TokenizerError> {
    if tokens as i64 <= known {
        return Ok(());
    }
    Err(TokenizerError::OtherModel { folder: folder.to_owned(), tokens, known })
}
