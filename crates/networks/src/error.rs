//! Errors of models in Hugging Face's folders: CLIP, GPT-2, BART and BERT.

use std::io;
use std::path::PathBuf;

use foreign_text::printable_path;
use tch::TchError;

use crate::weights::WeightsError;

/// Failure to read, write or use a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A config cannot be read.
    #[error(
        "cannot read {}: {source}\nhint: a model folder holds config.json beside its weights",
        printable_path(path)
    )]
    ReadConfig {
        /// File.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A config is not JSON, has a field of the wrong type, or an unsupported setting.
    #[error("{}: {reason}", printable_path(path))]
    InvalidConfig {
        /// File.
        path: PathBuf,
        /// Field and problem.
        reason: String,
    },
    /// A weight file is not in a model folder.
    #[error(
        "{} has no config.json in its folder\n\
         hint: use a model folder in Hugging Face's format, or its name on the hub; instead of \
         OpenAI's ViT-B-32.pt or ViT-L-14.pt use openai/clip-vit-base-patch32 or \
         openai/clip-vit-large-patch14", printable_path(.0)
    )]
    NoFolder(PathBuf),
    /// A CLIP lacks a required tower.
    #[error("{} has no {tower}\nhint: use the folder of a complete CLIP", printable_path(path))]
    NoTower {
        /// Folder or file.
        path: PathBuf,
        /// Name of the absent tower.
        tower: &'static str,
    },
    /// A CLIP was built without a required part.
    #[error("this CLIP has no {0}")]
    Absent(&'static str),
    /// The weights are missing, damaged, or of another model.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Images have another shape than CLIP's.
    #[error(
        "images have shape {got:?}, but this CLIP takes [batch, {channels}, {size}, {size}]\n\
         hint: the preprocessing must be that of the model's own folder"
    )]
    Pictures {
        /// Given shape.
        got: Vec<i64>,
        /// Required channels.
        channels: i64,
        /// Required height and width.
        size: i64,
    },
    /// Features have another shape than the locked encoder's.
    #[error("features have shape {got:?}, but this CLIP takes [batch, {dimension}]")]
    Features {
        /// Given shape.
        got: Vec<i64>,
        /// Required number of values.
        dimension: i64,
    },
    /// Token ids outside the vocabulary, none, too many of them, or a mask of another shape.
    #[error("{0}\nhint: the tokenizer must be that of the model's own folder")]
    Tokens(String),
    /// libtorch error, usually exhausted memory.
    #[error(
        "libtorch: {}\nhint: if memory is exhausted, use a smaller batch or another --device",
        crate::libtorch::reason(.0)
    )]
    Torch(#[from] TchError),
    /// A folder cannot be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
}
