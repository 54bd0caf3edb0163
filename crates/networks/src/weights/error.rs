//! Errors of reading and writing weights.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use safetensors::SafeTensorError;
use tch::{Kind, TchError};

use crate::libtorch::reason;

/// Failure to read or write weights, with the file concerned.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The operating system reports an error.
    #[error("cannot read {}: {source}", printable_path(path))]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The folder holds no weights in a supported format.
    #[error(
        "{} holds neither model.safetensors nor pytorch_model.bin, whole or in shards with their \
         index (model.safetensors.index.json, pytorch_model.bin.index.json)\n\
         hint: use a Hugging Face model folder", printable_path(.0)
    )]
    NoWeights(PathBuf),
    /// The file is not in safetensors format, or damaged.
    #[error(
        "{} is not a complete safetensors file: {source}\n\
         hint: fetch or copy the file again; it may be truncated",
        printable_path(path)
    )]
    Damaged {
        /// File.
        path: PathBuf,
        /// Problem in its header or length.
        source: SafeTensorError,
    },
    /// A PyTorch file cannot be read.
    #[error(transparent)]
    Torch(#[from] torch_files::Error),
    /// The file is a Git LFS pointer instead of the weights.
    #[error(
        "{} is a Git LFS pointer, not the file itself\n\
         hint: run `git lfs pull` in its repository, or fetch the file again", printable_path(.0)
    )]
    LfsPointer(PathBuf),
    /// A tensor has an infinite or NaN value.
    #[error(
        "{}: tensor {name} has a value that is {value}, which makes the model unusable\n\
         hint: use an earlier checkpoint, or fetch or export the weights again",
        printable_path(path)
    )]
    NotFinite {
        /// File.
        path: PathBuf,
        /// Tensor.
        name: String,
        /// The value in words.
        value: &'static str,
    },
    /// A tensor has a value that overflows the type of the model's weights.
    #[error(
        "{}: tensor {name} has a value of {largest}, which is infinite as {kind:?}\n\
         hint: use a type with a wider range, such as f32",
        printable_path(path)
    )]
    TooLarge {
        /// File.
        path: PathBuf,
        /// Tensor.
        name: String,
        /// Largest absolute value.
        largest: f64,
        /// Type of the model's weights.
        kind: Kind,
    },
    /// The index of shards is invalid.
    #[error("{}: {reason}", printable_path(path))]
    Index {
        /// Index file.
        path: PathBuf,
        /// Problem.
        reason: String,
    },
    /// The file lacks the requested tensor.
    #[error("{} has no tensor {name}", printable_path(path))]
    NoSuchTensor {
        /// File or folder.
        path: PathBuf,
        /// Requested name.
        name: String,
    },
    /// A tensor has an unsupported type.
    #[error("{}: tensor {name} has type {dtype}, which is not supported", printable_path(path))]
    Dtype {
        /// File.
        path: PathBuf,
        /// Tensor.
        name: String,
        /// Type of the tensor.
        dtype: String,
    },
    /// The weights do not fit the model.
    #[error(
        "the weights in {} do not fit the model\n{report}\
         hint: check that config.json (or the run's config) belongs to these weights",
        printable_path(path)
    )]
    Mismatch {
        /// File or folder.
        path: PathBuf,
        /// Every tensor that does not fit.
        report: Mismatch,
    },
    /// The file has an output head that differs from the token embedding, unlike the config.
    #[error(
        "{}: {head} differs from the token embedding, but the config ties them\n\
         hint: \"tie_word_embeddings\": false in a model folder's config.json uses this head, as \
         transformers 5 does; without the tensor the token embedding is used, as in transformers 4",
        printable_path(path)
    )]
    UntiedHead {
        /// File or folder.
        path: PathBuf,
        /// Name of the head in the file.
        head: String,
    },
    /// A tensor name is used twice, or reserved by the format.
    #[error(
        "cannot write {}: the tensor name {name} is reserved or used twice",
        printable_path(path)
    )]
    Name {
        /// File to be written.
        path: PathBuf,
        /// Name.
        name: String,
    },
    /// libtorch error for a tensor, usually exhausted memory.
    #[error("{}: tensor {name}: {}", printable_path(path), reason(source))]
    Tensor {
        /// File.
        path: PathBuf,
        /// Tensor.
        name: String,
        /// Error of libtorch.
        source: TchError,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
}

/// Differences between a file and a model, by the file's tensor names.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Tensors of the model that the file lacks.
    pub missing: Vec<String>,
    /// Tensors of the file that the model lacks.
    pub unexpected: Vec<String>,
    /// Tensors of different shape or incompatible type, each with both shapes.
    pub misshapen: Vec<String>,
}

impl Mismatch {
    pub(super) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshapen.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_NAMES: usize = 10;
        let groups = [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("misshapen", &self.misshapen),
        ];
        for (label, names) in groups.into_iter().filter(|(_, names)| !names.is_empty()) {
            writeln!(f, "  {label} ({}):", names.len())?;
            for name in names.iter().take(MAX_NAMES) {
                writeln!(f, "    {name}")?;
            }
            if names.len() > MAX_NAMES {
                writeln!(f, "    and {} more", names.len() - MAX_NAMES)?;
            }
        }
        Ok(())
    }
}

/// Returns a function that adds the path of a file to an I/O error.
pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> WeightsError {
    let path = path.to_owned();
    move |source| WeightsError::Io { path, source }
}
