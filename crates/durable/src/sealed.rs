//! JSON files that carry a digest of their own contents, so that one changed bit is noticed.
//!
//! The first entry of the file's object is the digest, at a fixed place and in a fixed form:
//!
//! ```text
//! {"sha256":"64 hexadecimal digits",
//! ```
//!
//! It covers every byte behind that comma, white space included. The file stays valid JSON for any
//! other program; in JSON lines the digest is in the first line and covers all lines.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::Error;

const BEFORE: &[u8] = b"{\"sha256\":\"";
const BEHIND: &[u8] = b"\",";
const DIGITS: usize = 64;

/// A sealed file that cannot be used. Each message goes on from the file's name.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file does not begin with a digest.
    #[error("carries no digest of its contents")]
    Missing,
    /// The contents are not those that the digest was made of.
    #[error("is damaged: its contents do not match its digest")]
    Broken,
    /// The contents are as they were written, but not what was expected.
    #[error("is not what was expected: {0}")]
    Json(#[from] serde_json::Error),
}

/// Returns a JSON object, and whatever follows it, with a digest as the object's first entry.
///
/// `text` begins with `{` and an entry, such as what serde makes of a struct with fields.
#[must_use]
pub fn seal(text: &str) -> String {
    let contents = text.strip_prefix('{').unwrap_or(text);
    format!("{{\"sha256\":\"{}\",{contents}", sha256(contents.as_bytes()))
}

/// Checks a sealed text and returns it as it was before [`seal`].
///
/// # Errors
/// [`SealError::Missing`] and [`SealError::Broken`].
pub fn unseal(bytes: &[u8]) -> Result<String, SealError> {
    let (digest, contents) = bytes
        .strip_prefix(BEFORE)
        .and_then(|rest| rest.split_at_checked(DIGITS))
        .and_then(|(digest, rest)| Some((digest, rest.strip_prefix(BEHIND)?)))
        .ok_or(SealError::Missing)?;
    if sha256(contents).as_bytes() != digest {
        return Err(SealError::Broken);
    }
    let contents = std::str::from_utf8(contents).map_err(|_| SealError::Broken)?;
    Ok(format!("{{{contents}"))
}

/// Writes `value`, which serialises as an object with entries, as a sealed file of readable JSON.
///
/// # Errors
/// As [`crate::write`]; also where `value` is no JSON.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut json = serde_json::to_string_pretty(value)
        .map_err(|error| crate::io_error("write", path)(error.into()))?;
    json.push('\n');
    crate::write(path, seal(&json).as_bytes())
}

/// Reads a file that [`write_json`] wrote.
///
/// # Errors
/// Names no file: the caller knows it and what to do.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, SealError> {
    Ok(serde_json::from_str(&unseal(&std::fs::read(path)?)?)?)
}

/// Reads a file that [`write_json`] wrote, or one from before such files had digests. `T` has to refuse
/// unknown fields: a digest whose own name is damaged is noticed by that.
///
/// # Errors
/// As [`read_json`].
pub fn read_json_of_any_version<T: DeserializeOwned>(path: &Path) -> Result<T, SealError> {
    let bytes = std::fs::read(path)?;
    match unseal(&bytes) {
        Err(SealError::Missing) => Ok(serde_json::from_slice(&bytes)?),
        text => Ok(serde_json::from_str(&text?)?),
    }
}

fn sha256(contents: &[u8]) -> String {
    hex::encode(Sha256::digest(contents))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_noticed_and_the_text_stays_json() {
        let text = "{\"words\": [\"dog\", 1e-5, \"\\u00e9 \u{e9}\"]}\n{\"second\": 1}\n";
        let sealed = seal(text);
        assert_eq!(unseal(sealed.as_bytes()).unwrap(), text);
        let first: serde_json::Value =
            serde_json::from_str(sealed.lines().next().unwrap()).unwrap();
        assert_eq!(first["words"][0], "dog");
        for bit in 0..sealed.len() * 8 {
            let mut bytes = sealed.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(&bytes).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(unseal(&sealed.as_bytes()[..length]).is_err(), "cut to {length} bytes");
        }
        assert!(matches!(unseal(text.as_bytes()), Err(SealError::Missing)));
        assert!(matches!(unseal(sealed.replace("dog", "cat").as_bytes()), Err(SealError::Broken)));
    }

    #[test]
    fn a_sealed_file_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let value = std::collections::BTreeMap::from([("a".to_owned(), vec![1, 2])]);
        write_json(&path, &value).unwrap();
        assert_eq!(
            read_json::<std::collections::BTreeMap<String, Vec<u32>>>(&path).unwrap(),
            value
        );
        assert!(matches!(read_json::<Vec<u32>>(&path), Err(SealError::Json(_))));
        let missing = folder.path().join("b.json");
        assert!(matches!(read_json::<Vec<u32>>(&missing), Err(SealError::Unreadable(_))));
    }
}
