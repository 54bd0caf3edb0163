//! Image features of any program: rows of numbers, with the name of each row's picture.
//!
//! [`Features::load`] reads
//! - numpy's `.npy` with a text file of names, and `.npz` with the arrays `names` and `features`
//!   (or `embeddings`),
//! - safetensors with names in its metadata (a JSON array `names`) or in a text file,
//! - the folder that clip-retrieval writes: `img_emb/img_emb_0.npy` with
//!   `metadata/metadata_0.parquet`, `.json` or `.jsonl`.
//!
//! Nothing is unpickled. [`Features::save`] writes `.npy` and the text file.

mod clip_retrieval;
mod error;
mod npy;
mod npz;
mod tensors;

use std::path::{Path, PathBuf};

use durable::write_with;
use foreign_text::{first_of, printable_path, read_bytes, read_text};

pub use error::Error;

/// Rows of one length in `[rows, dimension]`.
struct Rows {
    dimension: usize,
    values: Vec<f32>,
}

/// Features of images by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    /// Name of each row's image: a file name or path, with or without its extension.
    pub names: Vec<String>,
    /// Number of values in a row.
    pub dimension: usize,
    /// Values `[names, dimension]`, row by row; not checked to be finite.
    pub values: Vec<f32>,
    /// Files that were read, in order.
    pub files: Vec<PathBuf>,
}

impl Features {
    /// Returns true if `path` is a folder or has the extension of a format that is read here.
    #[must_use]
    pub fn is_format_of(path: &Path) -> bool {
        path.is_dir() || ["npy", "npz", "safetensors"].iter().any(|one| has_extension(path, one))
    }

    /// Reads files and folders, one after the other; `names` is the text file of all rows' names.
    ///
    /// # Errors
    /// Names the file: unreadable, of another format, without names, with more or fewer names than
    /// rows, or with rows of another length than the file before.
    pub fn load(paths: &[PathBuf], names: Option<&Path>) -> Result<Self, Error> {
        let mut all = Self::default();
        for path in paths {
            all.read(path, names.is_some())?;
        }
        if let Some(file) = names {
            all.names = names_of_text(file)?;
            all.files.push(file.to_owned());
            let rows = all.values.len().checked_div(all.dimension).unwrap_or(0);
            check_count(file, all.names.len(), rows)?;
        }
        Ok(all)
    }

    /// Appends the rows of a file or folder, and its names unless a text file has them.
    fn read(&mut self, path: &Path, named_elsewhere: bool) -> Result<(), Error> {
        if path.is_dir() {
            if named_elsewhere {
                return Err(Error::new(
                    path,
                    "a clip-retrieval folder has names of its own; leave --names out",
                ));
            }
            return clip_retrieval::read(path, self);
        }
        let bytes = read_bytes(path)
            .map_err(|error| Error::new(path, format!("cannot be read: {error}")))?;
        let read = if has_extension(path, "npz") {
            npz::read(&bytes, named_elsewhere)
        } else if has_extension(path, "safetensors") {
            tensors::read(&bytes, named_elsewhere)
        } else if named_elsewhere {
            npy::Array::parse(&bytes).and_then(|array| Ok((array.rows()?, Vec::new())))
        } else {
            Err("does not name its pictures\nhint: name a text file with one name a line, in the order of the rows: --names NAMES.txt".to_owned())
        };
        let (rows, names) = read.map_err(|reason| Error::new(path, reason))?;
        let rows_read = self.append(path, rows)?;
        self.files.push(path.to_owned());
        if !named_elsewhere {
            check_count(path, names.len(), rows_read)?;
            self.names.extend(names);
        }
        Ok(())
    }

    /// Appends the rows of the file `path`, and returns their number.
    fn append(&mut self, path: &Path, rows: Rows) -> Result<usize, Error> {
        if rows.dimension == 0 || rows.values.is_empty() {
            return Err(Error::new(path, "holds no features"));
        }
        if !self.values.is_empty() && self.dimension != rows.dimension {
            return Err(Error::new(
                path,
                format!(
                    "has features of {} values, the file before of {}; they are of different encoders",
                    rows.dimension, self.dimension
                ),
            ));
        }
        self.dimension = rows.dimension;
        let count = rows.values.len() / rows.dimension;
        self.values.extend(rows.values);
        Ok(count)
    }

    /// Writes the values as `.npy` to `path` and the names to the text file beside it.
    ///
    /// Returns the path of the text file.
    ///
    /// # Errors
    /// Fails if a file cannot be written or exists, or a name does not fit a line.
    pub fn save(&self, path: &Path) -> Result<PathBuf, Error> {
        if !has_extension(path, "npy") {
            return Err(Error::new(path, "is no name of numpy's file\nhint: end it with .npy"));
        }
        let names = path.with_extension("txt");
        for file in [path, &names] {
            if file.exists() {
                return Err(Error::new(
                    file,
                    "exists, and nothing is overwritten; choose another --out, or move it away",
                ));
            }
        }
        if let Some(name) = self.names.iter().find(|name| name.contains(['\n', '\r'])) {
            return Err(Error::new(&names, format!("the name {name:?} does not fit a line")));
        }
        let not_written = |file: &Path, error: durable::Error| Error::new(file, error.to_string());
        let shape = [self.names.len(), self.dimension];
        write_with(path, |file| npy::write(file, shape, &self.values))
            .map_err(|error| not_written(path, error))?;
        let text: String = self.names.iter().flat_map(|name| [name.as_str(), "\n"]).collect();
        durable::write(&names, text.as_bytes()).map_err(|error| not_written(&names, error))?;
        Ok(names)
    }
}

/// Fails unless there is one name for each row of features; `path` is the file of the names.
fn check_count(path: &Path, names: usize, rows: usize) -> Result<(), Error> {
    if names == rows {
        return Ok(());
    }
    Err(Error::new(
        path,
        format!(
            "there are {names} names for {rows} rows of features\nhint: write one name for each row, in the order of the rows"
        ),
    ))
}

/// Returns the lines of a text file.
fn names_of_text(file: &Path) -> Result<Vec<String>, Error> {
    let text = read_text(file)
        .map_err(|error| Error::new(file, format!("cannot be read as text: {error}")))?;
    // Windows editors begin a text with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(text.lines().map(str::to_owned).collect())
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// Returns the names of a list for messages.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names = first_of(names);
    if names.is_empty() { "nothing".to_owned() } else { names }
}

/// Formats a path for a Python line in a hint.
fn in_python(path: &Path) -> String {
    format!("\"{}\"", printable_path(path))
}
