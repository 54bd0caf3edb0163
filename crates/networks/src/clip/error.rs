//! What can go wrong with a CLIP.

use std::io;
use std::path::PathBuf;

use foreign_text::printable_path;
use tch::TchError;

use crate::weights::WeightsError;

/// A CLIP that could not be read, written, or used with what it was given.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// The operating system would not read `config.json`.
    #[error(
        "cannot read {}: {source}\nhint: a model folder holds config.json beside its weights",
        printable_path(path)
    )]
    ReadConfig {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Not JSON, a field of the wrong type, or a setting that is not supported.
    #[error("{}: {reason}", printable_path(path))]
    InvalidConfig {
        /// The file.
        path: PathBuf,
        /// The field and what is wrong with it.
        reason: String,
    },
    /// A weights file that lies in no model folder.
    #[error(
        "{} is a file without config.json beside it\n\
         hint: give a model folder in Hugging Face's format, or its name at the hub; in place of \
         OpenAI's ViT-B-32.pt and ViT-L-14.pt openai/clip-vit-base-patch32 and \
         openai/clip-vit-large-patch14", printable_path(.0)
    )]
    NoFolder(PathBuf),
    /// A model of which the other tower alone is there.
    #[error("{} has no {tower}\nhint: give the folder of a whole CLIP", printable_path(path))]
    NoTower {
        /// The folder or file.
        path: PathBuf,
        /// The absent tower in words.
        tower: &'static str,
    },
    /// A part of the model that is needed and that it was built without.
    #[error("this CLIP was built without a {0}")]
    Absent(&'static str),
    /// Weights that are missing, damaged, or another model's.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Pictures of another shape than the model's.
    #[error(
        "pictures of shape {got:?} were given to a CLIP that takes [batch, {channels}, {size}, {size}]\n\
         hint: the preprocessing must be that of the model's own folder"
    )]
    Pictures {
        /// The shape given.
        got: Vec<i64>,
        /// Channels wanted.
        channels: i64,
        /// Height and width wanted.
        size: i64,
    },
    /// Token ids that the text tower has no place for.
    #[error("{0}\nhint: the tokenizer must be that of the model's own folder")]
    Tokens(String),
    /// libtorch refused: out of memory, mostly.
    #[error(
        "libtorch: {}\nhint: if memory ran out, a smaller batch, where there is an option for it, or another --device helps",
        crate::libtorch::reason(.0)
    )]
    Torch(#[from] TchError),
    /// A folder could not be written.
    #[error(transparent)]
    Write(#[from] durable::Error),
}
