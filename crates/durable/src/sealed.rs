//! JSON files that carry a digest of their own contents, to detect damage.
//!
//! The first entry of the file's object is the digest, at a fixed place and in a fixed form:
//!
//! ```text
//! {"sha256":"64 hexadecimal digits",
//! ```
//!
//! The digest covers every byte after that comma, white space included. The file stays valid JSON
//! for other programs. In a JSON Lines file the digest is in the first line and covers all lines.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::Error;

const PREFIX: &[u8] = b"{\"sha256\":\"";
const SUFFIX: &[u8] = b"\",";
const DIGITS: usize = 64;

/// Error of reading a sealed file. Each message continues a sentence that names the file.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file does not begin with a digest.
    #[error("carries no digest of its contents")]
    Missing,
    /// The contents do not match the digest.
    #[error("is damaged: its contents do not match its digest")]
    Broken,
    /// The contents match the digest, but are not the expected JSON.
    #[error("is not what was expected: {0}")]
    Json(#[from] serde_json::Error),
}

/// Returns `text` with its digest inserted as the first entry of the JSON object.
///
/// `text` begins with `{` and an entry, such as a serialised struct with fields. The digest also
/// covers whatever follows the object.
#[must_use]
pub fn seal(text: &str) -> String {
    let contents = text.strip_prefix('{').unwrap_or(text);
    format!("{{\"sha256\":\"{}\",{contents}", sha256(contents.as_bytes()))
}

/// Checks a sealed text and returns the text that [`seal`] was given.
///
/// # Errors
/// [`SealError::Missing`] or [`SealError::Broken`].
pub fn unseal(bytes: &[u8]) -> Result<String, SealError> {
    let (digest, contents) = bytes
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_at_checked(DIGITS))
        .and_then(|(digest, rest)| Some((digest, rest.strip_prefix(SUFFIX)?)))
        .ok_or(SealError::Missing)?;
    if sha256(contents).as_bytes() != digest {
        return Err(SealError::Broken);
    }
    let contents = std::str::from_utf8(contents).map_err(|_| SealError::Broken)?;
    Ok(format!("{{{contents}"))
}

/// Writes `value` as a sealed file of indented JSON.
///
/// `value` has to serialise as an object with entries.
///
/// # Errors
/// Same as [`crate::write`]. Also fails if `value` cannot be serialised.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    crate::write(path, seal(&crate::to_json(path, value)?).as_bytes())
}

/// Reads a file that [`write_json`] wrote.
///
/// # Errors
/// Does not name the file: the caller knows it and adds a hint.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, SealError> {
    Ok(serde_json::from_str(&unseal(&std::fs::read(path)?)?)?)
}

/// Reads a file that [`write_json`] or a version before digests wrote.
///
/// `T` has to refuse unknown fields: this detects a damaged name of the digest's entry.
///
/// # Errors
/// Same as [`read_json`].
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
