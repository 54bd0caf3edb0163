//! JSON files of tokenizers.

use std::path::Path;

use foreign_text::{python_json, read_text};
use serde_json::Value;

use crate::TokenizerError;

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<Value, TokenizerError> {
    let text =
        read_text(path).map_err(|source| TokenizerError::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&python_json(&text))
        .map_err(|source| TokenizerError::Json { path: path.to_owned(), source })
}

/// Returns an error about the contents of `path`.
pub(crate) fn invalid(path: &Path, problem: String) -> TokenizerError {
    TokenizerError::Invalid { path: path.to_owned(), problem }
}

/// Returns a token's id, if the value is one.
pub(crate) fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}
