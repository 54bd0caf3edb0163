//! Weights on disk: safetensors read strictly, written whole.
//!
//! [`Checkpoint`] opens a file or a Hugging Face folder, [`load`] fills a variable store from it and
//! names every tensor that does not fit, [`save`] writes tensors all or nothing. The `safetensors`
//! crate reads the headers: `VarStore::load` takes the file's type silently, ignores unknown names
//! and guesses the format from the extension.

mod checkpoint;
mod load;
mod save;

use std::fmt;
use std::io;
use std::path::PathBuf;

use safetensors::{Dtype, SafeTensorError};
use tch::{Kind, TchError};

pub use checkpoint::Checkpoint;
pub use load::load;
pub(crate) use load::load_variables;
pub use save::save;

/// Weights that cannot be read or written, with the file concerned.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The operating system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A folder without weights in a form that is read here.
    #[error(
        "{} holds neither model.safetensors nor model.safetensors.index.json\n\
         hint: give a Hugging Face model folder, or a .safetensors file itself", .0.display()
    )]
    NoWeights(PathBuf),
    /// Not a safetensors file, or a damaged one.
    #[error(
        "{} is not a whole safetensors file: {source}\n\
         hint: fetch or copy the file again; a file cut short looks like this", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with its header or length.
        source: SafeTensorError,
    },
    /// An index of shards that is wrong in itself.
    #[error("{}: {reason}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that the file does not have.
    #[error("{} has no tensor {name}", path.display())]
    NoSuchTensor {
        /// The file or folder.
        path: PathBuf,
        /// The name that was asked for.
        name: String,
    },
    /// A tensor of a type that is not read or written here.
    #[error("{}: tensor {name} has type {dtype}, which is not supported", path.display())]
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
         hint: check that config.json (or the run's config) belongs to these weights", path.display()
    )]
    Mismatch {
        /// The file or folder.
        path: PathBuf,
        /// Every tensor that does not fit.
        report: Mismatch,
    },
    /// A language model with an output head of its own.
    #[error(
        "{}: {head} is not the token embedding again; a GPT-2 whose output head is its own is not \
         supported", path.display()
    )]
    UntiedHead {
        /// The file or folder.
        path: PathBuf,
        /// The head's name in the file.
        head: String,
    },
    /// A name that cannot be written: taken twice, or reserved by the format.
    #[error("cannot write {}: the tensor name {name} is reserved or used twice", path.display())]
    Name {
        /// The file to be written.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// libtorch refused a tensor: out of memory, mostly.
    #[error("{}: tensor {name}: {source}", path.display())]
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
