//! SHA-256 digests of files, to detect changed files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Error, io_error, sealed};

/// SHA-256 digests in hexadecimal, keyed by file name.
pub type Digests = BTreeMap<String, String>;

/// Returns the SHA-256 of a file's bytes, in hexadecimal.
///
/// # Errors
/// Fails if the file cannot be read; names it.
pub fn of_file(path: &Path) -> Result<String, Error> {
    let fail = || io_error("read", path);
    let mut file = File::open(path).map_err(fail())?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 18]);
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok(hex::encode(digest.finalize())),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count.map_err(fail())?,
        };
        digest.update(&buffer[..count]);
    }
}

/// Digests of files, remembered in a file by path, size and modification time.
#[derive(Debug, Clone)]
pub struct DigestCache {
    file: PathBuf,
    /// `None` before the file is read.
    known: Option<BTreeMap<String, Remembered>>,
}

/// A file's digest, and its size and modification time in nanoseconds when it was computed.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Remembered {
    size: u64,
    modified: u64,
    sha256: String,
}

impl DigestCache {
    /// Age from which a modification time tells whether a file has changed since.
    const SETTLED: Duration = Duration::from_secs(2);

    /// Returns the cache in `file`, which is read when it is needed.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), known: None }
    }

    /// Returns the SHA-256 of a file, without reading it if its size and time are remembered.
    ///
    /// # Errors
    /// Fails if the file cannot be read; names it.
    pub fn of_file(&mut self, path: &Path) -> Result<String, Error> {
        // A cache that is missing or damaged costs time only.
        let known =
            self.known.get_or_insert_with(|| sealed::read_json(&self.file).unwrap_or_default());
        let attributes = fs::metadata(path).map_err(io_error("read", path))?;
        let changed = attributes.modified().map_err(io_error("read", path))?;
        let (size, age) = (attributes.len(), changed.elapsed().unwrap_or_default());
        let modified = changed.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let name = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let name = name.display().to_string();
        if let Some(known) = known.get(&name)
            && (known.size, known.modified) == (size, modified)
        {
            return Ok(known.sha256.clone());
        }
        let sha256 = of_file(path)?;
        if age > Self::SETTLED {
            known.insert(name, Remembered { size, modified, sha256: sha256.clone() });
        }
        Ok(sha256)
    }

    /// Writes the remembered digests.
    ///
    /// # Errors
    /// Names the file.
    pub fn save(&self) -> Result<(), Error> {
        self.known.as_ref().map_or(Ok(()), |known| sealed::write_json(&self.file, known))
    }
}

/// Adds the digest of the file at `path`, or of all files under that folder, to `digests`.
///
/// The keys are paths relative to `root`. Adds nothing if `path` does not exist.
///
/// # Errors
/// Fails if a file cannot be read; names it.
pub fn add(digests: &mut Digests, root: &Path, path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        let entries = fs::read_dir(path).map_err(io_error("read", path))?;
        for entry in entries {
            add(digests, root, &entry.map_err(io_error("read", path))?.path())?;
        }
    } else if path.exists() {
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        digests.insert(name, of_file(path)?);
    }
    Ok(())
}

/// Returns the first file that is missing under `root` or differs from its digest.
#[must_use]
pub fn first_changed(digests: &Digests, root: &Path) -> Option<PathBuf> {
    let paths = digests.iter().map(|(name, sha256)| (root.join(name), sha256));
    let mut changed = paths.filter(|(path, sha256)| of_file(path).ok().as_ref() != Some(*sha256));
    changed.next().map(|(path, _)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_remembered_while_size_and_time_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (path, cache) = (folder.path().join("a"), folder.path().join("digests.json"));
        let write = |text: &str, seconds: u64| {
            fs::write(&path, text).unwrap();
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        };
        let digest = || {
            let mut cache = DigestCache::new(&cache);
            let digest = cache.of_file(&path).unwrap();
            cache.save().unwrap();
            digest
        };
        write("one", 1_000);
        let one = digest();
        assert_eq!(one, of_file(&path).unwrap());
        write("two", 1_000);
        assert_eq!(digest(), one, "the same size and time");
        write("two", 1_001);
        assert_eq!(digest(), of_file(&path).unwrap());
        // A file that was just written may change again within the same tick of the clock.
        fs::write(&path, "new").unwrap();
        assert_eq!(digest(), of_file(&path).unwrap());
        let text = fs::read_to_string(&cache).unwrap();
        assert!(!text.contains(&of_file(&path).unwrap()), "{text}");
    }

    #[test]
    fn a_changed_or_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        for (name, text) in [("a/b/one", "1"), ("a/two", "2"), ("three", "")] {
            fs::write(root.join(name), text).unwrap();
        }
        let mut digests = Digests::new();
        for path in ["a", "three", "absent"] {
            add(&mut digests, root, &root.join(path)).unwrap();
        }
        assert_eq!(digests.keys().collect::<Vec<_>>(), ["a/b/one", "a/two", "three"]);
        // The value that sha256sum prints.
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digests["three"], of_nothing);
        assert_eq!(first_changed(&digests, root), None);
        fs::write(root.join("a/two"), "3").unwrap();
        assert_eq!(first_changed(&digests, root), Some(root.join("a/two")));
        fs::write(root.join("a/two"), "2").unwrap();
        fs::remove_file(root.join("a/b/one")).unwrap();
        assert_eq!(first_changed(&digests, root), Some(root.join("a/b/one")));
    }
}
