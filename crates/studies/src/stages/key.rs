//! Key of a stage: everything that its result depends on, by name and content.
//!
//! A key holds no path of the study itself and no modification time, so a copied or moved study has
//! the same keys.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use durable::digests::DigestCache;
use durable::kept::Key;
use recipes::Config;

use super::named_paths::NamedPaths;
use super::{Error, Stage, io_error};

/// Version of the stages' results. Raise it when a command computes other results from the same
/// inputs: a resumed study then runs every stage again.
const RESULTS_VERSION: u32 = 1;

/// Name in a key that identifies inputs by content; keys of version 0.2.0 and before lack it.
const FORMAT: &str = "inputs";

/// Something that a stage reads.
#[derive(Debug, Clone)]
pub enum Input {
    /// A text by name.
    Text(String, String),
    /// A run's configuration, without its paths, whose files are inputs of their own.
    Config(Box<Config>),
    /// A file or folder, by the names and contents of the files in it. May be missing.
    Path(PathBuf),
    /// A [`Self::Path`] with the contents that it has now.
    Contents(PathBuf, Arc<str>),
}

impl Input {
    /// Returns a named text.
    pub fn text(name: &str, text: impl Into<String>) -> Self {
        Self::Text(name.to_owned(), text.into())
    }
}

/// Returns a stage's inputs as names and texts.
pub(super) fn inputs(
    stage: &Stage,
    paths_by_name: &NamedPaths,
    digests: &mut DigestCache,
) -> Result<Vec<(String, String)>, Error> {
    let inputs = stage.inputs.iter().map(|input| {
        Ok(match input {
            Input::Text(name, text) => (name.clone(), text.clone()),
            Input::Config(config) => {
                let mut text = String::new();
                for (key, value) in config.values_without_paths() {
                    // Writing to a string cannot fail.
                    let _ = writeln!(text, "{value}\t{key}");
                }
                ("config".to_owned(), text)
            }
            Input::Path(path) => (paths_by_name.name(path), contents(path, digests)?.to_string()),
            Input::Contents(path, contents) => (paths_by_name.name(path), contents.to_string()),
        })
    });
    inputs.collect()
}

/// Returns the key of a stage with these inputs, after stages with these names and keys.
pub(super) fn key<'p>(
    stage: &Stage,
    inputs: &[(String, String)],
    paths_by_name: &NamedPaths,
    before: impl Iterator<Item = (&'p str, &'p Key)>,
) -> Key {
    let arguments = stage.arguments.iter().map(|argument| paths_by_name.name(Path::new(argument)));
    let key = Key::new([("results version", RESULTS_VERSION)])
        .and(Key::new([(FORMAT, "by content")]))
        .with_digest("arguments", &arguments.collect::<Vec<_>>())
        .and(Key::new(before.map(|(name, key)| (format!("stage {name}"), key.sha256()))));
    inputs.iter().fold(key, |key, (name, text)| key.with_digest(name, text))
}

/// Returns whether version 0.2.0 or before wrote a key.
pub(super) fn is_old(key: &Key) -> bool {
    key.get(FORMAT).is_none()
}

/// Returns the key that version 0.2.0 gave a stage: by paths and modification times.
pub(super) fn old_key(stage: &Stage, before: Key) -> Result<Key, Error> {
    let mut key = Key::new([("results version", RESULTS_VERSION)])
        .with_digest("arguments", &stage.arguments)
        .and(before);
    for input in &stage.inputs {
        key = match input {
            Input::Text(name, text) => key.with_digest(name, text),
            Input::Config(config) => key.with_digest("config", &config.to_toml_of_0_2_0()),
            Input::Path(path) | Input::Contents(path, _) => {
                key.with_digest(&path.display().to_string(), &listing(path)?)
            }
        };
    }
    Ok(key)
}

/// Returns the digests and names of the files under `path`, a line each.
pub(super) fn contents(path: &Path, digests: &mut DigestCache) -> Result<Arc<str>, Error> {
    let mut lines = String::new();
    list(path, path, &mut lines, &mut |file, name, _| {
        Ok(format!("{}\t{name}", digests.of_file(file)?))
    })?;
    Ok(lines.into())
}

/// Returns names, sizes and modification times of the files under `path`, a line each.
pub(super) fn listing(path: &Path) -> Result<String, Error> {
    let mut lines = String::new();
    list(path, path, &mut lines, &mut |file, name, attributes| {
        let changed = attributes.modified().map_err(io_error("read", file))?;
        let changed = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(format!("{name} {} {}", attributes.len(), changed.as_nanos()))
    })?;
    Ok(lines)
}

/// Function that returns the line of a file from its path, its name and its attributes.
type Describe<'a> = &'a mut dyn FnMut(&Path, &str, &fs::Metadata) -> Result<String, Error>;

/// Appends a line for each file under `path`, sorted by name.
fn list(root: &Path, path: &Path, lines: &mut String, describe: Describe) -> Result<(), Error> {
    let attributes = match fs::metadata(path) {
        Ok(attributes) => attributes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            lines.push_str("absent\n");
            return Ok(());
        }
        Err(error) => return Err(io_error("read", path)(error)),
    };
    if attributes.is_dir() {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries.map(|entry| Ok(entry?.path())),
            // Removed since it was looked at.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("read", path)(error)),
        };
        let entries = entries.collect::<io::Result<Vec<PathBuf>>>();
        let mut entries = entries.map_err(io_error("read", path))?;
        entries.sort();
        return entries.iter().try_for_each(|entry| list(root, entry, lines, describe));
    }
    let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
    lines.push_str(&describe(path, &name, &attributes)?);
    lines.push('\n');
    Ok(())
}

/// Returns the names in lines of `before` or `after` that the other has not, each once.
///
/// A name is what follows the tab of a line.
pub(super) fn changed_lines(before: &str, after: &str) -> Vec<String> {
    let name = |line: &str| line.split_once('\t').map(|(_, name)| name.to_owned());
    let of = |text: &str, other: &str| -> Vec<String> {
        let other: std::collections::HashSet<&str> = other.lines().collect();
        text.lines().filter(|line| !other.contains(line)).filter_map(name).collect()
    };
    let mut names = of(after, before);
    for name in of(before, after) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
