//! Why a file is refused.

use std::io;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", printable_path(path))]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a file.
///
/// Offsets count from the start of the file; in a zip archive from the start of its `data.pkl`, and
/// in [`Problem::Nested`] from the start of the inner bytes.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The system refused to read.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
    /// Neither a zip archive nor a pickle.
    #[error(
        "is neither a PyTorch checkpoint nor a pickle nor a safetensors file; it begins with {0:?}\n\
         hint: JSON needs no conversion; anything else may be the wrong file"
    )]
    Unrecognised(String),
    /// A PyTorch file of a kind that is not read here.
    #[error("is {0}")]
    UnsupportedKind(&'static str),
    /// The bytes end too early.
    #[error(
        "ends at byte {end}, but {wanted} bytes are wanted from byte {at} on\n\
         hint: fetch or copy the file again; a file cut short looks like this"
    )]
    CutShort {
        /// Where the missing bytes begin.
        at: u64,
        /// How many are wanted there.
        wanted: u64,
        /// Where the bytes end.
        end: u64,
    },
    /// The pickle asks for a function or class that is not on the list of those that only hold data.
    #[error(
        "asks Python to import {name} (byte {at}), which is none of the classes and functions of \
         tensors and plain data that are read; nothing was run\n\
         hint: if the file is trusted, load it in Python and save its state_dict() or plain lists"
    )]
    ForbiddenName {
        /// Module and name, as Python would import it.
        name: String,
        /// Where it stands.
        at: u64,
    },
    /// An opcode that PyTorch and Python never write into such files, or no opcode at all.
    #[error("has the pickle opcode {name} at byte {at}, which is not read here; nothing was run")]
    Opcode {
        /// The opcode's name in Python's `pickletools`, or its number.
        name: String,
        /// Where it stands.
        at: u64,
    },
    /// A pickle that contradicts itself, or holds what is not read.
    #[error("cannot be read from byte {at} on: {reason}")]
    Pickle {
        /// The opcode's place.
        at: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A storage's own pickle inside a pickle.
    #[error("in a tensor's own bytes: {0}")]
    Nested(Box<Problem>),
    /// A pickle that would need more memory or depth than its size can justify.
    #[error("is refused: {0}")]
    Limit(String),
    /// A zip archive that contradicts itself or is not as `torch.save` writes it.
    #[error("is not an archive that torch.save writes: {0}")]
    Archive(String),
    /// Tensor data that is missing, too short or too long.
    #[error("has damaged tensor data: {0}")]
    Storage(String),
    /// Sound, but not what was asked for.
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

/// `text` as it may stand in an error: escaped, and not longer than a line.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
