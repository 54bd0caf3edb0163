//! What a stage's result depends on, as one digest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use super::{Error, Stage, io_error};

/// Something that a stage reads.
#[derive(Debug, Clone)]
pub enum Input {
    /// A text, such as a resolved configuration.
    Text(String),
    /// A file or folder, by names, sizes and times of change of what is in it: for data sets, whose contents
    /// would take long to read. One that is not there is that.
    Path(PathBuf),
}

impl Input {
    /// What [`Self::Path`] would find now: for many stages that read the same.
    ///
    /// # Errors
    /// When something there cannot be read.
    pub fn listing(path: &Path) -> Result<Self, Error> {
        Ok(Self::Text(listing(path)?))
    }
}

/// What stands for the code: a change of it makes everything anew.
#[must_use]
pub fn code_version(version: &str, sources_sha256: &str) -> String {
    format!("{version} {sources_sha256}")
}

/// The key of a stage that comes after those with the keys `before`.
pub(super) fn key(stage: &Stage, before: &[&str], code: &str) -> Result<String, Error> {
    let mut digest = Sha256::new();
    let mut add = |kind: &str, text: &str| {
        digest.update(format!("{kind} {}\n", text.len()));
        digest.update(text);
    };
    add("code", code);
    for argument in &stage.arguments {
        add("argument", argument);
    }
    for input in &stage.inputs {
        match input {
            Input::Text(text) => add("text", text),
            Input::Path(path) => add("path", &listing(path)?),
        }
    }
    for before in before {
        add("after", before);
    }
    Ok(hex::encode(digest.finalize()))
}

/// Returns names, sizes and times of change of the files under `path`.
pub(super) fn listing(path: &Path) -> Result<String, Error> {
    let mut listing = String::new();
    list(path, path, &mut listing).map_err(io_error("read", path))?;
    Ok(listing)
}

/// A line for each file under `path`, sorted by name.
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
        let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
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
