//! Weights on disk: safetensors and PyTorch's files read strictly, safetensors written whole.
//!
//! [`Checkpoint`] opens a file or a Hugging Face folder, [`load`] fills a variable store from it and
//! names every tensor that does not fit or is not finite, [`save`] writes tensors all or nothing. The
//! `safetensors` crate reads the headers: `VarStore::load` takes the file's type silently, ignores
//! unknown names and guesses the format from the extension.

mod checkpoint;
mod finite;
mod load;
mod save;
mod shard;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use safetensors::{Dtype, SafeTensorError};
use tch::{Kind, TchError};

use crate::libtorch::reason;

pub use checkpoint::Checkpoint;
pub use load::load;
pub(crate) use load::{load_and_name_others, load_variables};
pub use save::{save, write_tensors};

/// Weights that cannot be read or written, with the file concerned.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The operating system refused.
    #[error("cannot read {}: {source}", printable_path(path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A folder without weights in a form that is read here.
    #[error(
        "{} holds neither model.safetensors nor pytorch_model.bin, whole or in shards with their \
         index (model.safetensors.index.json, pytorch_model.bin.index.json)\n\
         hint: give a Hugging Face model folder", printable_path(.0)
    )]
    NoWeights(PathBuf),
    /// Not a safetensors file, or a damaged one.
    #[error(
        "{} is not a whole safetensors file: {source}\n\
         hint: fetch or copy the file again; a file cut short looks like this",
        printable_path(path)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with its header or length.
        source: SafeTensorError,
    },
    /// A file of PyTorch's that cannot be read.
    #[error(transparent)]
    Torch(#[from] torch_files::Error),
    /// A placeholder of Git's large-file storage in place of a file.
    #[error(
        "{} is a Git LFS pointer, not the file itself\n\
         hint: run `git lfs pull` in its repository, or fetch the file again", printable_path(.0)
    )]
    LfsPointer(PathBuf),
    /// A tensor with an infinity or with what is not a number.
    #[error(
        "{}: tensor {name} has a value that is {value}, and so the model is of no use\n\
         hint: take an earlier checkpoint, or fetch or export the weights again",
        printable_path(path)
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The value in words.
        value: &'static str,
    },
    /// A tensor with a value beyond what the type of the model's weights holds.
    #[error(
        "{}: tensor {name} has a value of {largest}, which is infinite as {kind:?}\n\
         hint: choose a type with a wider range, f32 for one",
        printable_path(path)
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The largest absolute value.
        largest: f64,
        /// The type of the model's weights.
        kind: Kind,
    },
    /// An index of shards that is wrong in itself.
    #[error("{}: {reason}", printable_path(path))]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that the file does not have.
    #[error("{} has no tensor {name}", printable_path(path))]
    NoSuchTensor {
        /// The file or folder.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
    },
    /// A tensor of a type that is not read or written here.
    #[error("{}: tensor {name} has type {dtype}, which is not supported", printable_path(path))]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
    /// Weights that do not fit the model.
    #[error(
        "the weights in {} do not fit the model\n{report}\
         hint: check that config.json (or the run's config) belongs to these weights",
        printable_path(path)
    )]
    Mismatch {
        /// The file or folder.
        path: PathBuf,
        /// Every tensor that does not fit.
        report: Mismatch,
    },
    /// A language model with an output head of its own.
    #[error(
        "{}: {head} is not the token embedding again, though the config does not say so\n\
         hint: \"tie_word_embeddings\": false in a model folder's config.json uses this head, as \
         transformers 5 does; without the tensor the token embedding is used, as in transformers 4",
        printable_path(path)
    )]
    UntiedHead {
        /// The file or folder.
        path: PathBuf,
        /// The head's name in the file.
        head: String,
    },
    /// A name that cannot be written: taken twice, or reserved by the format.
    #[error(
        "cannot write {}: the tensor name {name} is reserved or used twice",
        printable_path(path)
    )]
    Name {
        /// The file to be written.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// libtorch refused a tensor: out of memory, mostly.
    #[error("{}: tensor {name}: {}", printable_path(path), reason(source))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// libtorch's reason.
        source: TchError,
    },
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
}

/// The tensors in which a file and a model differ, by their names in the file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Needed by the model, absent from the file.
    pub missing: Vec<String>,
    /// In the file, unknown to the model.
    pub unexpected: Vec<String>,
    /// In both with another shape or type; each with both shapes.
    pub misshapen: Vec<String>,
}

impl Mismatch {
    fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshapen.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        let groups = [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("misshapen", &self.misshapen),
        ];
        for (what, names) in groups.into_iter().filter(|(_, names)| !names.is_empty()) {
            writeln!(f, "  {what} ({}):", names.len())?;
            for name in names.iter().take(SHOWN) {
                writeln!(f, "    {name}")?;
            }
            if names.len() > SHOWN {
                writeln!(f, "    and {} more", names.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

/// The types that are read and written, under their names on both sides.
const KINDS: [(Dtype, Kind); 7] = [
    (Dtype::F64, Kind::Double),
    (Dtype::F32, Kind::Float),
    (Dtype::F16, Kind::Half),
    (Dtype::BF16, Kind::BFloat16),
    (Dtype::I64, Kind::Int64),
    (Dtype::I32, Kind::Int),
    (Dtype::U8, Kind::Uint8),
];

fn kind_of(dtype: Dtype) -> Option<Kind> {
    KINDS.iter().find(|(known, _)| *known == dtype).map(|(_, kind)| *kind)
}

fn dtype_of(kind: Kind) -> Option<Dtype> {
    KINDS.iter().find(|(_, known)| *known == kind).map(|(dtype, _)| *dtype)
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> WeightsError {
    let path = path.to_owned();
    move |source| WeightsError::Io { path, source }
}
