//! Digests of files on disk, and their expected values.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use md5::Md5;
use sha1::{Digest, Sha1};

use crate::Error;

/// Algorithm of a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// The hub's etag of a large file.
    Sha256,
    /// Git object id, SHA-1 of `blob SIZE\0` and the contents: the hub's etag of a small file.
    GitBlob,
    /// Used if nothing better is published. Detects damage, not tampering.
    Md5,
}

impl Algorithm {
    /// Returns the digest of a file, in hexadecimal.
    pub fn digest(self, path: &Path) -> Result<String, Error> {
        match self {
            Self::Sha256 => Ok(durable::digests::of_file(path)?),
            Self::Md5 => hash(path, Md5::new()),
            Self::GitBlob => {
                let length = fs::metadata(path).map_err(Error::io("read", path))?.len();
                hash(path, Sha1::new_with_prefix(format!("blob {length}\0")))
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::GitBlob => "git object id",
            Self::Md5 => "MD5",
        }
    }
}

/// Expected digest of a file.
#[derive(Debug)]
pub(crate) struct Checksum {
    pub algorithm: Algorithm,
    /// Digest in hexadecimal, lower case.
    pub hex: String,
    /// Source of the digest, for messages.
    origin: &'static str,
}

impl Checksum {
    /// Returns the digest in the hub's etag; `None` if the etag has another form.
    pub fn from_etag(etag: &str) -> Option<Self> {
        let algorithm = match etag.len() {
            64 => Algorithm::Sha256,
            40 => Algorithm::GitBlob,
            _ => return None,
        };
        let is_hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hex = etag.to_ascii_lowercase();
        is_hex.then_some(Self { algorithm, hex, origin: "announced by the hub" })
    }

    /// Returns a SHA-256 from the table of known models.
    pub fn pinned(sha256: &str) -> Self {
        let hex = sha256.to_owned();
        Self { algorithm: Algorithm::Sha256, hex, origin: "pinned by capsmith" }
    }

    /// Returns the digest of a data set's archive, from `sha256:HEX` or `md5:HEX`.
    pub fn published(digest: &str) -> Self {
        let (algorithm, hex) = match digest.split_once(':') {
            Some(("md5", hex)) => (Algorithm::Md5, hex),
            Some((_, hex)) => (Algorithm::Sha256, hex),
            None => (Algorithm::Sha256, digest),
        };
        Self { algorithm, hex: hex.to_owned(), origin: "published for this archive" }
    }

    /// Fails if the file at `path`, called `name` in messages, has another digest.
    pub fn check(&self, path: &Path, name: &str, hint: &'static str) -> Result<(), Error> {
        self.compare(&self.algorithm.digest(path)?, name, hint)
    }

    /// Fails with [`Error::Mismatch`] if `actual` is another digest.
    pub fn compare(&self, actual: &str, name: &str, hint: &'static str) -> Result<(), Error> {
        if actual == self.hex {
            return Ok(());
        }
        Err(Error::Mismatch {
            name: name.to_owned(),
            property: self.algorithm.name(),
            expected: self.hex.as_str().into(),
            actual: actual.into(),
            origin: self.origin,
            hint,
        })
    }
}

fn hash(path: &Path, mut digest: impl Digest) -> Result<String, Error> {
    each_piece(File::open(path).map_err(Error::io("read", path))?, |piece| {
        digest.update(piece.map_err(Error::io("read", path))?);
        Ok::<_, Error>(())
    })?;
    Ok(hex::encode(digest.finalize()))
}

/// Passes the bytes of `reader` to `sink` piece by piece; a failed read ends them.
pub(crate) fn each_piece<E>(
    mut reader: impl Read,
    mut sink: impl FnMut(io::Result<&[u8]>) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = vec![0; 1 << 17];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => sink(Ok(&buffer[..count]))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return sink(Err(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected values are those of `sha256sum`, `md5sum` and `git hash-object`.
    #[test]
    fn digests_are_those_of_the_usual_tools() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "hello\n").unwrap();
        for (algorithm, hex) in [
            (Algorithm::Sha256, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"),
            (Algorithm::Md5, "b1946ac92492d2347c6235b4d2611184"),
            (Algorithm::GitBlob, "ce013625030ba8dba906f756967f9e9ca394464a"),
        ] {
            assert_eq!(algorithm.digest(&path).unwrap(), hex);
        }
    }
}
