//! Keywords of a data set's images in a JSON Lines file.
//!
//! The first line holds a digest of the whole file ([`durable::sealed`]) and the sources of the
//! keywords. Each other line is for one image.
//!
//! ```text
//! {"sha256":"…","identity":{"version":2,"dataset_fingerprint":"…","embeddings_sha256":"…",…}}
//! {"image":"x.jpg","keywords":[{"word":"dog","probability":0.41},…]}
//! ```

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use durable::kept::Key;
use durable::sealed::{self, SealError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::Error;

/// Version of file format and rules; version 2 has the rules of `SBG.ipynb` and a digest.
const VERSION: u32 = 2;

/// Keyword of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Keyword {
    /// Word or short phrase.
    pub word: String,
    /// Probability among the candidates that it was selected from.
    pub probability: f64,
}

/// Sources of keywords.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeywordsIdentity {
    /// Version of the file format and the rules.
    version: u32,
    /// Fingerprint of the data set: its captions and images.
    pub dataset_fingerprint: String,
    /// Digest of the images' embeddings.
    pub embeddings_sha256: String,
    /// Digest of the CLIP model that compared images with words.
    pub clip_sha256: String,
    /// Digest of the labels.
    pub labels_sha256: String,
    /// Digest of the encyclopedia; `None` if keywords were selected from labels only.
    pub encyclopedia_sha256: Option<String>,
}

impl KeywordsIdentity {
    /// Returns the identity of keywords that this version selects.
    #[must_use]
    pub fn new(
        dataset_fingerprint: String,
        embeddings_sha256: String,
        clip_sha256: String,
        labels_sha256: String,
        encyclopedia_sha256: Option<String>,
    ) -> Self {
        Self {
            version: VERSION,
            dataset_fingerprint,
            embeddings_sha256,
            clip_sha256,
            labels_sha256,
            encyclopedia_sha256,
        }
    }
}

impl KeywordsIdentity {
    fn key(&self) -> Key {
        Key::new([
            ("captions or images", self.dataset_fingerprint.as_str()),
            ("embeddings", &self.embeddings_sha256),
            ("CLIP", &self.clip_sha256),
            ("labels", &self.labels_sha256),
            ("encyclopedia", self.encyclopedia_sha256.as_deref().unwrap_or("none")),
        ])
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    identity: KeywordsIdentity,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    image: String,
    keywords: Vec<Keyword>,
}

/// Keywords of a data set's images.
#[derive(Debug)]
pub struct ImageKeywords {
    path: PathBuf,
    identity: KeywordsIdentity,
    sha256: String,
    by_image: HashMap<String, Vec<Keyword>>,
}

impl ImageKeywords {
    /// Reads a file of [`Self::save`] and checks its digest.
    ///
    /// # Errors
    /// Names a file that is damaged, of an earlier version or of another format.
    pub fn open(path: &Path) -> Result<Self, Error> {
        const AGAIN: &str = "move it away and select keywords again: capsmith keywords select";
        let bytes = fs::read(path).map_err(|error| {
            Error::file(
                path,
                format!("cannot be read: {error}; `capsmith keywords select` creates it"),
            )
        })?;
        let text = sealed::unseal(&bytes).map_err(|error| match error {
            SealError::Missing => Error::file(
                path,
                format!(
                    "has no digest of its contents: `capsmith keywords select` did not write it, or an earlier version did, whose keywords followed other rules; {AGAIN}"
                ),
            ),
            error => Error::file(path, format!("{error}; {AGAIN}")),
        })?;
        let damaged = |line: usize, error: serde_json::Error| {
            Error::file(
                path,
                format!("line {line} is not a line of selected keywords ({error}); {AGAIN}"),
            )
        };
        let mut lines = text.lines().zip(1..);
        let (first, number) = lines.next().unwrap_or_default();
        let First { identity } =
            serde_json::from_str(first).map_err(|error| damaged(number.max(1), error))?;
        if identity.version != VERSION {
            let version = identity.version;
            return Err(Error::file(
                path,
                format!(
                    "has version {version}, but this capsmith reads version {VERSION}; {AGAIN}"
                ),
            ));
        }
        let mut by_image = HashMap::new();
        for (line, number) in lines {
            let Line { image, keywords } =
                serde_json::from_str(line).map_err(|error| damaged(number, error))?;
            if by_image.insert(image.clone(), keywords).is_some() {
                return Err(Error::file(path, format!("line {number}: {image} is in it twice")));
            }
        }
        let sha256 = hex::encode(Sha256::digest(&bytes));
        Ok(Self { path: path.to_owned(), identity, sha256, by_image })
    }

    /// Returns true if `path` holds keywords with this identity; false if there is no file.
    ///
    /// # Errors
    /// Fails for a file of other keywords, which is never overwritten, and for a damaged one.
    pub fn is_finished(path: &Path, identity: &KeywordsIdentity) -> Result<bool, Error> {
        if !path.exists() {
            return Ok(false);
        }
        let differences = identity.key().changed_names(&Self::open(path)?.identity.key());
        if differences.is_empty() {
            return Ok(true);
        }
        Err(Error::file(
            path,
            format!(
                "holds keywords of other inputs ({} differ); choose another --out, or move it away",
                differences.join(", ")
            ),
        ))
    }

    /// Writes the keywords of images, given with their file names, by an atomic rename.
    ///
    /// # Errors
    /// Names the file.
    pub fn save(
        path: &Path,
        identity: &KeywordsIdentity,
        pictures: impl Iterator<Item = (String, Vec<Keyword>)>,
    ) -> Result<(), Error> {
        let line = |value: serde_json::Result<String>| {
            value.map_err(|error| Error::file(path, error.to_string()))
        };
        let mut lines = line(serde_json::to_string(&First { identity: identity.clone() }))?;
        lines.push('\n');
        for (image, keywords) in pictures {
            lines.push_str(&line(serde_json::to_string(&Line { image, keywords }))?);
            lines.push('\n');
        }
        Ok(durable::write(path, sealed::seal(&lines).as_bytes())?)
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the sources of the keywords.
    #[must_use]
    pub fn identity(&self) -> &KeywordsIdentity {
        &self.identity
    }

    /// Returns the SHA-256 of the file.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Returns the number of images with keywords.
    #[must_use]
    pub fn pictures(&self) -> usize {
        self.by_image.len()
    }

    /// Returns the keywords of the image with this file name, in the order of the prompt.
    #[must_use]
    pub fn of(&self, file_name: &str) -> Option<&[Keyword]> {
        self.by_image.get(file_name).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_read_back_and_any_flipped_bit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("selected.jsonl");
        let identity = KeywordsIdentity::new("1".into(), "2".into(), "3".into(), "4".into(), None);
        let keywords = vec![Keyword { word: "dog".into(), probability: 0.25 }];
        let pictures = [("a.jpg".to_owned(), keywords.clone()), ("b.jpg".to_owned(), Vec::new())];
        ImageKeywords::save(&path, &identity, pictures.into_iter()).unwrap();
        let read = ImageKeywords::open(&path).unwrap();
        assert_eq!((read.identity(), read.pictures()), (&identity, 2));
        assert_eq!(read.of("a.jpg"), Some(&keywords[..]));
        assert_eq!(read.of("c.jpg"), None);

        let whole = fs::read(&path).unwrap();
        let refused = |bytes: &[u8], expected: &str| {
            fs::write(&path, bytes).unwrap();
            let error = ImageKeywords::open(&path).unwrap_err().to_string();
            assert!(error.contains("selected.jsonl") && error.contains(expected), "{error}");
            assert!(error.contains("keywords select"), "{error}");
        };
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            refused(&bytes, "digest");
        }
        refused(&whole[..whole.len() - 5], "do not match its digest");
        refused(b"", "no digest");

        // Valid digests of other contents than this version's, and the first version, which had no
        // digest.
        let text = sealed::unseal(&whole).unwrap();
        for (other, expected) in [
            (text.replace("\"version\":2", "\"version\":9"), "version 9"),
            (text.replace("keywords", "words"), "line 2 "),
        ] {
            refused(sealed::seal(&other).as_bytes(), expected);
        }
        fs::write(&path, sealed::seal(&text.replace("b.jpg", "a.jpg"))).unwrap();
        assert!(ImageKeywords::open(&path).unwrap_err().to_string().contains("twice"));
        refused(text.as_bytes(), "earlier version");
    }
}
