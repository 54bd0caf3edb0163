//! Errors of making and reading embeddings.

use std::io;
use std::path::{Path, PathBuf};

use foreign_text::{first_of, printable, printable_path};
use networks::ModelError;
use networks::memory::OutOfMemory;
use tch::TchError;

use crate::skipped::Skipped;

/// Features of another encoder than a CLIP was trained on.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} holds features of another encoder than {} projects, which is {}:\n  {}",
    printable_path(path), printable(model), printable(encoder), differences.join("\n  ")
)]
pub struct OtherFeatures {
    /// File of the features.
    pub path: PathBuf,
    /// Name of the CLIP.
    pub model: String,
    /// Name of the encoder that it was trained on.
    pub encoder: String,
    /// Differences: the file's encoder there, the CLIP's here.
    pub differences: Vec<String>,
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        Self::Clip(Box::new(error))
    }
}

/// Error of making embeddings or of using a file of them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan contradicts itself.
    #[error("{0}")]
    Plan(String),
    /// Images of one batch cannot be decoded.
    #[error(
        "{}\nhint: replace {}, or pass --skip-corrupt to leave such pictures out",
        list(.0),
        if .0.len() == 1 { "it" } else { "them" }
    )]
    Pictures(Vec<Skipped>),
    /// An earlier run skipped images, which this run does not accept.
    #[error(
        "{} was begun with --skip-corrupt and leaves out {}\nhint: pass --skip-corrupt again to \
         accept that, or move it away to start over",
        printable_path(path),
        list(skipped)
    )]
    LeavesOut {
        /// Finished file, or folder of the unfinished run.
        path: PathBuf,
        /// Skipped images.
        skipped: Vec<Skipped>,
    },
    /// No image could be decoded.
    #[error("none of the {0} pictures could be decoded; there is nothing to write")]
    NothingLeft(usize),
    /// The encoder failed.
    #[error("cannot encode the batch {} to {}: {source}", printable(first), printable(last))]
    Encoder {
        /// The batch's first picture.
        first: String,
        /// The batch's last picture.
        last: String,
        /// The encoder's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Memory is exhausted by a batch.
    #[error(
        "cannot encode the batch {} to {}: {source}\nhint: {}",
        printable(first), printable(last), less_memory(*batch_size, kept)
    )]
    OutOfMemory {
        /// The batch's first picture.
        first: String,
        /// The batch's last picture.
        last: String,
        /// Size of the allocation that failed.
        source: OutOfMemory,
        /// Pictures in a batch.
        batch_size: usize,
        /// Folder with the finished batches of this size.
        kept: PathBuf,
    },
    /// The encoder's output has another shape than planned.
    #[error("the encoder gave a tensor of shape {got:?} where {expected:?} was planned")]
    Shape {
        /// `[batch, dimension]` of the plan.
        expected: [i64; 2],
        /// The encoder's.
        got: Vec<i64>,
    },
    /// A CLIP cannot project features.
    #[error(transparent)]
    Clip(Box<ModelError>),
    /// Features are of another encoder than a CLIP was trained on.
    #[error(transparent)]
    OtherFeatures(Box<OtherFeatures>),
    /// Embeddings hold an infinity or NaN.
    #[error(
        "the embeddings of {} are not finite\nhint: with --dtype f16 the model may overflow; try \
         bf16 or f32. Otherwise its weights are damaged", first_of(.0)
    )]
    NotFinite(Vec<String>),
    /// libtorch refused a tensor: out of memory, mostly.
    #[error(
        "libtorch: {}\nhint: where memory is short, lower --batch-size",
        networks::libtorch::reason(.0)
    )]
    Torch(#[from] TchError),
    /// The stop flag was raised.
    #[error(
        "stopped with {done} of {total} pictures done\nhint: the same command resumes there \
         (kept in {})",
        printable_path(kept)
    )]
    Interrupted {
        /// Pictures done.
        done: usize,
        /// Pictures of the plan.
        total: usize,
        /// Folder with the finished batches.
        kept: PathBuf,
    },
    /// Embeddings could not be written, mostly because the disk is full.
    #[error(
        "cannot write {}: {source}\nhint: the {done} pictures done before are kept; once there is \
         room the same command resumes there",
        printable_path(path)
    )]
    Keep {
        /// The file.
        path: PathBuf,
        /// Pictures done and kept.
        done: usize,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A finished file of other settings is in the way.
    #[error(
        "{} exists and holds other embeddings:\n  {}\nhint: move it away, or choose another --out",
        printable_path(path), differences.join("\n  ")
    )]
    OtherOutput {
        /// The finished file.
        path: PathBuf,
        /// Differences, one per line.
        differences: Vec<String>,
    },
    /// Images have changed since a file's embeddings were made.
    #[error(
        "{} holds embeddings of pictures that have changed since: {}\nhint: put the old pictures \
         back, or repeat the `capsmith precompute` that wrote it: it embeds them again",
        printable_path(path),
        first_of(pictures)
    )]
    PicturesChanged {
        /// The finished file.
        path: PathBuf,
        /// The pictures.
        pictures: Vec<String>,
    },
    /// A file of embeddings or of an unfinished run is damaged or of another kind.
    #[error("{}: {reason}\nhint: {hint}", printable_path(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Damage.
        reason: String,
        /// Advice.
        hint: &'static str,
    },
    /// A file operation failed, or another process is at work on the same output.
    #[error(transparent)]
    File(#[from] durable::Error),
}

impl Error {
    /// Returns the error for a file that could not be written after `done` images.
    pub(crate) fn keep(error: durable::Error, path: &Path, done: usize) -> Self {
        match error {
            durable::Error::Io { source, .. } => Self::Keep { path: path.to_owned(), done, source },
            error => error.into(),
        }
    }
}

/// Returns the hint for using less memory.
fn less_memory(batch_size: usize, kept: &Path) -> String {
    if batch_size == 1 {
        return "not even one picture at a time has room: try --dtype f16, or another --device"
            .to_owned();
    }
    format!(
        "lower --batch-size, such as to {}; remove {} before, since what is done there was done in \
         batches of {batch_size}",
        batch_size / 2,
        printable_path(kept)
    )
}

/// Returns the first few images with their reasons and the number of the others.
fn list(pictures: &[Skipped]) -> String {
    const SHOWN: usize = 5;
    let shown = pictures
        .iter()
        .take(SHOWN)
        .map(|Skipped { name, reason }| format!("{}: {reason}", printable(name)));
    let mut lines: Vec<_> = shown.collect();
    if pictures.len() > SHOWN {
        lines.push(format!("and {} more", pictures.len() - SHOWN));
    }
    lines.join("\n")
}
