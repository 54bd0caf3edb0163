//! Errors of reading and writing files.

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
/// Offsets count from the start of the file. In a zip archive they count from the start of its
/// `data.pkl`, and in [`Problem::Nested`] from the start of the inner bytes.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The operating system could not read the file.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
    /// The file is none of a zip archive, a pickle and a safetensors file.
    #[error(
        "is neither a PyTorch checkpoint nor a pickle nor a safetensors file; it begins with {0:?}\n\
         hint: JSON needs no conversion; anything else may be the wrong file"
    )]
    Unrecognised(String),
    /// The file is a PyTorch file of an unsupported kind.
    #[error("is {0}")]
    UnsupportedKind(&'static str),
    /// The file is truncated.
    #[error(
        "ends at byte {end}, but {wanted} bytes are wanted from byte {at} on\n\
         hint: fetch or copy the file again; it may be truncated"
    )]
    CutShort {
        /// Position of the first missing byte.
        at: u64,
        /// Number of bytes needed from there.
        wanted: u64,
        /// Position where the bytes end.
        end: u64,
    },
    /// The pickle names a function or class outside the list of those that only hold data.
    #[error(
        "asks Python to import {name} (byte {at}), which is none of the classes and functions of \
         tensors and plain data that are read; nothing was run\n\
         hint: if the file is trusted, load it in Python and save its state_dict() or plain lists"
    )]
    ForbiddenName {
        /// Module and name, as Python would import it.
        name: String,
        /// Position of the name.
        at: u64,
    },
    /// The pickle has an opcode that PyTorch and Python never write there, or an invalid one.
    #[error("has the pickle opcode {name} at byte {at}, which is not read here; nothing was run")]
    Opcode {
        /// Name of the opcode in Python's `pickletools`, or its number.
        name: String,
        /// Position of the opcode.
        at: u64,
    },
    /// The pickle contradicts itself or holds something unsupported.
    #[error("cannot be read from byte {at} on: {reason}")]
    Pickle {
        /// Position of the opcode.
        at: u64,
        /// Description of the problem.
        reason: String,
    },
    /// The pickle of a storage inside a pickle has a problem.
    #[error("in a tensor's own bytes: {0}")]
    Nested(Box<Problem>),
    /// The pickle needs more memory or depth than its size can justify.
    #[error("is refused: {0}")]
    Limit(String),
    /// The zip archive contradicts itself or is not as `torch.save` writes it.
    #[error("is not an archive that torch.save writes: {0}")]
    Archive(String),
    /// Tensor data is missing, too short or too long.
    #[error("has damaged tensor data: {0}")]
    Storage(String),
    /// The file is sound, but does not hold what the caller asked for.
    #[error("{0}")]
    Content(String),
}

impl Problem {
    pub(crate) fn at(self, path: &Path) -> Error {
        Error { path: path.to_owned(), problem: self }
    }

    pub(crate) fn storage(reason: impl Into<String>) -> Self {
        Self::Storage(reason.into())
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
