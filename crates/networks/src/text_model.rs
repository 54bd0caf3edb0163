//! Errors of models that read texts, BART and BERT, and reading of their configs.

use std::io;
use std::path::{Path, PathBuf};

use foreign_text::{printable_path, python_json, read_text};
use serde::de::DeserializeOwned;
use tch::TchError;

use crate::weights::WeightsError;

/// Failure to read a BART or BERT, or to use it with the given input.
#[derive(Debug, thiserror::Error)]
pub enum TextModelError {
    /// A config cannot be read.
    #[error(
        "cannot read {}: {source}\nhint: a model folder holds config.json beside its weights",
        printable_path(path)
    )]
    ReadConfig {
        /// File.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A config is not JSON, has a field of the wrong type, or an unsupported setting.
    #[error("{}: {reason}", printable_path(path))]
    InvalidConfig {
        /// File.
        path: PathBuf,
        /// Field and problem.
        reason: String,
    },
    /// The weights are missing, damaged, or of another model.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Token ids outside the vocabulary, none, or too many of them.
    #[error("{0}\nhint: the tokenizer must be that of the model's own folder")]
    Tokens(String),
    /// libtorch error, usually exhausted memory.
    #[error(
        "libtorch: {}\nhint: if memory is exhausted, use a smaller batch or another --device",
        crate::libtorch::reason(.0)
    )]
    Torch(#[from] TchError),
}

/// Reads a config in JSON as Python writes it.
///
/// # Errors
/// [`TextModelError::ReadConfig`] and [`TextModelError::InvalidConfig`].
pub(crate) fn read_config<T: DeserializeOwned>(path: &Path) -> Result<T, TextModelError> {
    let text = read_text(path)
        .map_err(|source| TextModelError::ReadConfig { path: path.to_owned(), source })?;
    serde_json::from_str(&python_json(&text)).map_err(|error| TextModelError::InvalidConfig {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
