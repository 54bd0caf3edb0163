//! Files of labels and encyclopedias.
//!
//! capsmith writes them with a digest of their contents ([`durable::sealed`]) and with their
//! sources. It also reads files of others, which have neither: the paper's published JSON and its
//! authors' pickles. The two kinds cannot be confused: a file of capsmith's is an object with the
//! keys `sha256` and `from`, which no published list or tree has.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use durable::kept::Key;
use durable::sealed::{self, SealError};
use foreign_text::{open_regular, python_json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use torch_files::Tree;
use words::Label;

use crate::error::Error;

/// Key of the labels in a file.
pub(crate) const LABELS: &str = "labels";
/// Key of the encyclopedia in a file.
pub(crate) const ENCYCLOPEDIA: &str = "encyclopedia";

/// Contents of a file that capsmith wrote, without its digest.
#[derive(Serialize, Deserialize)]
pub(crate) struct Derived<T> {
    pub from: Key,
    #[serde(flatten)]
    pub contents: BTreeMap<String, T>,
}

/// Reads a file that capsmith wrote and checks its digest.
///
/// Returns its sources and its value under `key`.
pub(crate) fn read_own(path: &Path, key: &str) -> Result<(Key, Value), Error> {
    match own(&read_bytes(path)?, key) {
        Ok(found) => Ok(found),
        Err(SealError::Missing) => Err(Error::file(
            path,
            "has no digest of its contents: it was written by hand or by an earlier capsmith\nhint: rebuild it with capsmith keywords build, or a run's own file with capsmith train; pass your own list with --labels and your own tree with --encyclopedia",
        )),
        Err(error) => Err(damaged(path, &error)),
    }
}

/// Reads the value under `key` of a file that capsmith wrote, or all of another file.
pub(crate) fn read(path: &Path, key: &str) -> Result<Value, Error> {
    if path.extension().is_some_and(|extension| extension == "pkl" || extension == "pickle") {
        return Ok(Tree::load(path)?.to_json()?);
    }
    let bytes = read_bytes(path)?;
    match own(&bytes, key) {
        Ok((_, value)) => return Ok(value),
        Err(SealError::Missing) => {}
        Err(error) => return Err(damaged(path, &error)),
    }
    let text = str::from_utf8(&bytes)
        .map_err(|error| Error::file(path, format!("is not UTF-8 text: {error}")))?;
    let value: Value = serde_json::from_str(&python_json(text)).map_err(|error| {
        Error::file(path, format!("is not valid JSON, perhaps cut short: {error}"))
    })?;
    // A file of capsmith's that lost its digest must not pass for a file of others.
    let is_own = |tree: &serde_json::Map<String, Value>| {
        ["sha256", "from", LABELS, ENCYCLOPEDIA].iter().any(|key| tree.contains_key(*key))
    };
    if value.as_object().is_some_and(is_own) {
        return Err(damaged(path, &SealError::Missing));
    }
    Ok(value)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    open_regular(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|error| Error::file(path, format!("cannot be read: {error}")))?;
    Ok(bytes)
}

fn own(bytes: &[u8], key: &str) -> Result<(Key, Value), SealError> {
    let Derived { from, mut contents } = serde_json::from_str(&sealed::unseal(bytes)?)?;
    let value = contents.remove(key).ok_or_else(|| {
        let other = contents.into_keys().next().unwrap_or_default();
        serde::de::Error::custom(format!("it holds {other:?} and not {key:?}"))
    });
    Ok((from, value.map_err(SealError::Json)?))
}

fn damaged(path: &Path, error: &SealError) -> Error {
    Error::file(
        path,
        format!(
            "{error}\nhint: restore it from a copy, or move it away and rebuild it with capsmith keywords build, or a run's own file with capsmith train; to edit it, save its list or tree without the digest under another name"
        ),
    )
}

/// Reads labels `[word, part of speech, frequency]`, most frequent first.
///
/// The file is one that capsmith wrote, a plain JSON list such as the paper's published one, or a
/// pickle of such a list.
///
/// # Errors
/// Names a file that cannot be read, is no such list, is empty or is damaged.
pub fn read_labels(path: &Path) -> Result<Vec<Label>, Error> {
    labels(path, read(path, LABELS)?)
}

/// Parses labels; `path` is for error messages.
pub(crate) fn labels(path: &Path, value: Value) -> Result<Vec<Label>, Error> {
    let labels: Vec<Label> = serde_json::from_value(value).map_err(|error| {
        Error::file(
            path,
            format!("is no list of labels, such as [[\"dog\", \"NOUN\", 10263]]: {error}"),
        )
    })?;
    if labels.is_empty() {
        return Err(Error::file(path, "has no labels; rebuild them: capsmith keywords build"));
    }
    Ok(labels)
}

/// Writes labels, one per line, with their sources `from` and a digest.
///
/// # Errors
/// Names the file.
pub fn write_labels(path: &Path, from: &Key, labels: &[Label]) -> Result<(), Error> {
    let json = |error: serde_json::Error| Error::file(path, error.to_string());
    let from = serde_json::to_string(from).map_err(json)?;
    let lines = labels.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>();
    let lines = lines.map_err(json)?.join(",\n");
    let text = sealed::seal(&format!("{{\n\"from\": {from},\n\"{LABELS}\": [\n{lines}\n]}}\n"));
    Ok(durable::write(path, text.as_bytes())?)
}

/// Returns the SHA-256 of labels, independent of their file format.
#[must_use]
pub fn labels_sha256(labels: &[Label]) -> String {
    digest(&labels)
}

/// Returns the SHA-256 of a value's JSON, in hexadecimal.
pub(crate) fn digest<T: Serialize>(value: &T) -> String {
    sha256(&serde_json::to_vec(value).unwrap_or_default())
}

/// Returns the SHA-256 of bytes, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn some() -> Vec<Label> {
        serde_json::from_str(r#"[["dog", "NOUN", 3], ["run", "VERB", 2]]"#).unwrap()
    }

    fn refused(path: &Path) -> String {
        let error = read_labels(path).unwrap_err().to_string();
        assert!(error.contains("labels.json"), "{error}");
        error
    }

    #[test]
    fn labels_are_read_back_and_bad_ones_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        write_labels(&path, &Key::new([("captions", "1")]), &some()).unwrap();
        assert_eq!(read_labels(&path).unwrap(), some());
        let (from, value) = read_own(&path, LABELS).unwrap();
        assert_eq!(from.get("captions"), Some("1"));
        assert_eq!(labels(&path, value).unwrap(), some());
        assert!(read(&path, ENCYCLOPEDIA).unwrap_err().to_string().contains("labels"));
        for (text, expected) in [
            ("[]", "no labels"),
            (r#"[["dog", "NOUN"]]"#, "no list of labels"),
            (r#"[["dog", "NOUN", 3"#, "cut short"),
        ] {
            fs::write(&path, text).unwrap();
            assert!(refused(&path).contains(expected), "{text}");
        }
    }

    #[test]
    fn somebody_elses_list_has_no_digest_and_capsmiths_own_must_have_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        fs::write(&path, serde_json::to_string(&some()).unwrap()).unwrap();
        assert_eq!(read_labels(&path).unwrap(), some());
        assert!(read_own(&path, LABELS).unwrap_err().to_string().contains("no digest"));

        write_labels(&path, &Key::new([("captions", "1")]), &some()).unwrap();
        let whole = fs::read(&path).unwrap();
        for bit in (0..whole.len() * 8).step_by(3) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            refused(&path);
        }
        let mut value: Value = serde_json::from_slice(&whole).unwrap();
        value.as_object_mut().unwrap().remove("sha256");
        fs::write(&path, value.to_string()).unwrap();
        assert!(refused(&path).contains("no digest"));
    }
}
