//! JSON files of tokenizers.

use std::path::Path;

use foreign_text::{python_json, read_text};
use serde_json::{Map, Value};

use crate::TokenizerError;

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<Value, TokenizerError> {
    let text =
        read_text(path).map_err(|source| TokenizerError::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&python_json(&text))
        .map_err(|source| TokenizerError::Json { path: path.to_owned(), source })
}

/// Reads the object of a JSON file; returns an empty one if there is no file.
pub(crate) fn read_object_if_there(path: &Path) -> Result<Map<String, Value>, TokenizerError> {
    if !path.exists() {
        return Ok(Map::new());
    }
    match read_json(path)? {
        Value::Object(object) => Ok(object),
        other => Err(invalid(path, format!("it is {other}, not an object"))),
    }
}

/// Returns an error about the contents of `path`.
pub(crate) fn invalid(path: &Path, problem: String) -> TokenizerError {
    TokenizerError::Invalid { path: path.to_owned(), problem }
}

/// Returns a token's id, if the value is one.
pub(crate) fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}
