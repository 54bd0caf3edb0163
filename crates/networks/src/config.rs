//! Reading and checking of the configs in model folders.

use std::path::Path;

use foreign_text::{python_json, read_text};
use serde::de::DeserializeOwned;

use crate::error::ModelError;

/// Sanity limit, ten times ViT-L/14 and more than twice the largest GPT-2, so that a wrong config
/// fails before memory runs out.
pub(crate) const MAX_PARAMETERS: u128 = 4_000_000_000;

/// Sanity limit, twenty times the deepest GPT-2; each layer takes memory, however narrow it is.
pub(crate) const MAX_LAYERS: i64 = 1_000;

/// Limit of a size that [`check_parameters`] limits further.
pub(crate) const MAX_SIZE: i64 = i32::MAX as i64;

/// Reads a file by `parse`, which gets JSON.
///
/// # Errors
/// [`ModelError::ReadConfig`] and [`ModelError::InvalidConfig`].
pub(crate) fn read_config<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, ModelError> {
    let text = read_text(path)
        .map_err(|source| ModelError::ReadConfig { path: path.to_owned(), source })?;
    parse(&python_json(&text))
        .map_err(|reason| ModelError::InvalidConfig { path: path.to_owned(), reason })
}

/// Parses JSON, with the error as text.
pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Fails unless each size is from 1 to its maximum.
pub(crate) fn check_sizes(sizes: &[(&str, i64, i64)]) -> Result<(), String> {
    let wrong = sizes.iter().find(|(_, size, most)| !(1..=*most).contains(size));
    wrong.map_or(Ok(()), |(name, size, most)| {
        Err(format!("{name} is {size}; it must be from 1 to {most}"))
    })
}

/// Fails unless `scale` is a number above 0.
pub(crate) fn check_scale(name: &str, scale: f64) -> Result<(), String> {
    if scale.is_finite() && scale > 0.0 {
        return Ok(());
    }
    Err(format!("{name} is {scale}; it must be above 0"))
}

/// Fails if a model has more parameters than any that is known.
pub(crate) fn check_parameters(count: u128) -> Result<(), String> {
    if count <= MAX_PARAMETERS {
        return Ok(());
    }
    Err(format!("its sizes give a model of {count} parameters, more than {MAX_PARAMETERS}"))
}
