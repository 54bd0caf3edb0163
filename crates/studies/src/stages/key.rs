//! Key of a stage: everything that its result depends on, by name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use durable::kept::Key;

use super::{Error, Stage, io_error};

/// Version of the stages' results. Raise it when a command computes other results from the same
/// inputs: a resumed study then runs every stage again.
const RESULTS_VERSION: u32 = 1;

/// Something that a stage reads.
#[derive(Debug, Clone)]
pub enum Input {
    /// A text by name, such as a resolved configuration.
    Text(String, String),
    /// A file or folder, by names, sizes and modification times of the files in it: for data sets,
    /// whose contents would take long to read. May be missing.
    Path(PathBuf),
}

impl Input {
    /// Returns a named text.
    pub fn text(name: &str, text: impl Into<String>) -> Self {
        Self::Text(name.to_owned(), text.into())
    }

    /// Returns the current state of a [`Self::Path`], for many stages that read the same files.
    ///
    /// # Errors
    /// Fails if something there cannot be read.
    pub fn listing(path: &Path) -> Result<Self, Error> {
        Ok(Self::Text(path.display().to_string(), listing(path)?))
    }
}

/// Returns the key of a stage that comes after stages with these names and keys.
pub(super) fn key<'p>(
    stage: &Stage,
    before: impl Iterator<Item = (&'p str, &'p Key)>,
) -> Result<Key, Error> {
    let mut key = Key::new([("results version", RESULTS_VERSION)])
        .with_digest("arguments", &stage.arguments)
        .and(Key::new(before.map(|(name, key)| (format!("stage {name}"), key.sha256()))));
    for input in &stage.inputs {
        key = match input {
            Input::Text(name, text) => key.with_digest(name, text),
            Input::Path(path) => key.with_digest(&path.display().to_string(), &listing(path)?),
        };
    }
    Ok(key)
}

/// Returns names, sizes and modification times of the files under `path`.
pub(super) fn listing(path: &Path) -> Result<String, Error> {
    let mut listing = String::new();
    list(path, path, &mut listing).map_err(io_error("read", path))?;
    Ok(listing)
}

/// Appends a line for each file under `path`, sorted by name.
fn list(root: &Path, path: &Path, listing: &mut String) -> io::Result<()> {
    let attributes = match fs::metadata(path) {
        Ok(attributes) => attributes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            listing.push_str("absent\n");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if attributes.is_dir() {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries.map(|entry| Ok(entry?.path())),
            // Removed since it was looked at.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut entries = entries.collect::<io::Result<Vec<PathBuf>>>()?;
        entries.sort();
        return entries.iter().try_for_each(|entry| list(root, entry, listing));
    }
    let name = path.strip_prefix(root).unwrap_or(path);
    let changed = attributes.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let line = format!("{} {} {}\n", name.display(), attributes.len(), changed.as_nanos());
    listing.push_str(&line);
    Ok(())
}
