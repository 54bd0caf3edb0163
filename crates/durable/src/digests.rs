//! SHA-256 digests of files, to detect changed files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::{Error, io_error};

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
