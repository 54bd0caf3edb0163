//! Errors of reading and writing files.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;

/// Error of one file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", printable_path(path))]
pub struct Error {
    /// File with the problem.
    pub path: PathBuf,
    /// Description of the problem.
    pub problem: Problem,
}

/// Problem of a file.
///
/// Messages count bytes from the start of the file, in a zip archive from the start of its
/// `data.pkl`, and in a storage that is pickled by itself from the start of its bytes.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The operating system could not read the file.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
    /// The pickle names a function or class outside the list of those that only hold data.
    #[error(
        "asks Python to import {name} (byte {offset}), which is none of the classes and functions \
         of tensors and plain data that are read; nothing was run\n\
         hint: if the file is trusted, load it in Python and save its state_dict() or plain lists"
    )]
    ForbiddenName {
        /// Module and name, as Python would import it.
        name: String,
        /// Position of the name.
        offset: usize,
    },
    /// The file is truncated, damaged, hostile, or of another kind than expected.
    #[error("{0}")]
    Content(String),
}

impl Problem {
    pub(crate) fn at(self, path: &Path) -> Error {
        Error { path: path.to_owned(), problem: self }
    }

    pub(crate) fn content(message: impl Into<String>) -> Self {
        Self::Content(message.into())
    }

    /// Returns the problem of a file that ends at byte `end`, inside what begins at `offset`.
    pub(crate) fn cut_short(offset: usize, needed: u64, end: usize) -> Self {
        Self::Content(format!(
            "ends at byte {end}, but {needed} bytes are wanted from byte {offset} on\n\
             hint: fetch or copy the file again; it may be truncated"
        ))
    }

    /// Returns the problem of a pickle that contradicts itself or holds something unsupported.
    pub(crate) fn pickle(offset: usize, reason: impl Display) -> Self {
        Self::Content(format!("cannot be read from byte {offset} on: {reason}"))
    }

    /// Returns the problem of tensor data that is missing, too short or too long.
    pub(crate) fn storage(reason: impl Display) -> Self {
        Self::Content(format!("has damaged tensor data: {reason}"))
    }

    /// Returns the problem of needing more memory or depth than the file's size can justify.
    pub(crate) fn limit(reason: impl Display) -> Self {
        Self::Content(format!("is refused: {reason}"))
    }
}

/// Returns `text` for use in an error: escaped, and at most 80 characters long.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// Returns a dict's key as Python writes it in an index: `["name"]`.
pub(crate) fn key_step(name: &str) -> String {
    format!("[\"{}\"]", shown(name))
}
