//! Digests of files on disk, and their expected values.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::Error;

/// Digest of a file's contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256 in hexadecimal; the hub's etag of a large file.
    Sha256(String),
    /// Git object id: SHA-1 of `blob SIZE\0` and the contents; the hub's etag of a small file.
    GitBlob(String),
    /// MD5 in hexadecimal, if nothing better is published. Detects damage, not tampering.
    Md5(String),
}

impl Checksum {
    /// Returns the digest in the hub's etag; `None` if the etag has another form.
    #[must_use]
    pub fn from_etag(etag: &str) -> Option<Self> {
        let is_hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        match etag.len() {
            64 if is_hex => Some(Self::Sha256(etag.to_ascii_lowercase())),
            40 if is_hex => Some(Self::GitBlob(etag.to_ascii_lowercase())),
            _ => None,
        }
    }

    /// Returns the name of the algorithm.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::GitBlob(_) => "git object id",
            Self::Md5(_) => "MD5",
        }
    }

    /// Returns the digest in hexadecimal.
    #[must_use]
    pub fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) | Self::Md5(hex) => hex,
        }
    }

    /// Computes the digest of `path` by the same algorithm.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_same_kind(&self, path: &Path) -> Result<Self, Error> {
        Ok(match self {
            Self::Sha256(_) => Self::Sha256(sha256(path)?),
            Self::Md5(_) => Self::Md5(hash(path, Md5::new())?),
            Self::GitBlob(_) => {
                let length = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
                let mut digest = Sha1::new();
                digest.update(format!("blob {length}\0"));
                Self::GitBlob(hash(path, digest)?)
            }
        })
    }

    /// Compares the file at `path`, called `name` in messages, with this digest from `origin`.
    ///
    /// # Errors
    /// [`Error::Checksum`] with both values, or the file cannot be read.
    pub(crate) fn check(
        &self,
        path: &Path,
        name: &str,
        origin: &'static str,
        hint: &'static str,
    ) -> Result<(), Error> {
        let actual = self.of_same_kind(path)?;
        if actual == *self {
            return Ok(());
        }
        Err(Error::Checksum {
            name: name.to_owned(),
            algorithm: self.algorithm(),
            expected: self.hex().into(),
            actual: actual.hex().into(),
            origin,
            hint,
        })
    }
}

/// Returns the SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// The file cannot be read.
pub fn sha256(path: &Path) -> Result<String, Error> {
    hash(path, Sha256::new())
}

fn hash(path: &Path, mut digest: impl Digest) -> Result<String, Error> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer).map_err(Error::io("read", path))?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        digest.update(bytes);
    }
    Ok(hex::encode(digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are those of `sha256sum`, `md5sum` and `git hash-object`.
    #[test]
    fn digests_are_those_of_the_usual_tools() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "hello\n").unwrap();
        for checksum in [
            Checksum::Sha256(
                "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03".to_owned(),
            ),
            Checksum::Md5("b1946ac92492d2347c6235b4d2611184".to_owned()),
            Checksum::GitBlob("ce013625030ba8dba906f756967f9e9ca394464a".to_owned()),
        ] {
            assert_eq!(checksum.of_same_kind(&path).unwrap(), checksum);
        }
    }
}
