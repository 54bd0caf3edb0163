//! Lists and trees of words in files: JSON, or the pickles that the paper's authors keep.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use torch_files::Tree;
use words::Label;

use crate::error::Error;

/// The contents of a JSON file, or of a pickle, whose code is not run.
pub(crate) fn read(path: &Path) -> Result<Value, Error> {
    if path.extension().is_some_and(|extension| extension == "pkl" || extension == "pickle") {
        return Ok(Tree::load(path)?.to_json()?);
    }
    let bytes =
        fs::read(path).map_err(|error| Error::file(path, format!("cannot be read: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Error::file(path, format!("is not valid JSON, perhaps cut short: {error}"))
    })
}

/// Writes readable JSON, all or nothing.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut json = serde_json::to_string_pretty(value)
        .map_err(|error| Error::file(path, error.to_string()))?;
    json.push('\n');
    Ok(durable::write(path, json.as_bytes())?)
}

/// Reads labels `[word, part of speech, frequency]`, the most frequent first: a JSON file, such as the
/// paper's published one, or its pickle.
///
/// # Errors
/// Names the file that cannot be read, is no such list, or is empty.
pub fn read_labels(path: &Path) -> Result<Vec<Label>, Error> {
    let labels: Vec<Label> = serde_json::from_value(read(path)?).map_err(|error| {
        Error::file(
            path,
            format!("is no list of labels, such as [[\"dog\", \"NOUN\", 10263]]: {error}"),
        )
    })?;
    if labels.is_empty() {
        return Err(Error::file(path, "has no labels; make them anew: capsmith keywords build"));
    }
    Ok(labels)
}

/// Writes labels as [`read_labels`] reads them, one a line.
///
/// # Errors
/// Names the file.
pub fn write_labels(path: &Path, labels: &[Label]) -> Result<(), Error> {
    let lines = labels.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
    let lines = lines.map_err(|error| Error::file(path, error.to_string()))?;
    Ok(durable::write(path, format!("[\n{}\n]\n", lines.join(",\n")).as_bytes())?)
}

/// SHA-256 of labels, however they are stored.
#[must_use]
pub fn labels_sha256(labels: &[Label]) -> String {
    digest(&labels)
}

/// SHA-256 of a value's JSON, in hexadecimal.
pub(crate) fn digest<T: Serialize>(value: &T) -> String {
    sha256(&serde_json::to_vec(value).unwrap_or_default())
}

/// SHA-256 of bytes, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_back_and_bad_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        let labels: Vec<Label> =
            serde_json::from_str(r#"[["dog", "NOUN", 3], ["run", "VERB", 2]]"#).unwrap();
        write_labels(&path, &labels).unwrap();
        assert_eq!(read_labels(&path).unwrap(), labels);
        for (text, expected) in [
            ("[]", "no labels"),
            (r#"[["dog", "NOUN"]]"#, "no list of labels"),
            (r#"[["dog", "NOUN", 3"#, "cut short"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read_labels(&path).unwrap_err().to_string();
            assert!(error.contains("labels.json") && error.contains(expected), "{error}");
        }
    }
}
