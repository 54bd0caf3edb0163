//! Errors of a run, with the file and a hint.

use std::path::PathBuf;

use foreign_text::printable_path;
use networks::memory::OutOfMemory;
use recipes::ConfigError;

/// Error of a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The captions cannot be loaded.
    #[error(transparent)]
    Corpus(#[from] datasets::LoadError),
    /// A picture cannot be read.
    #[error(transparent)]
    Picture(#[from] pictures::PictureError),
    /// The split cannot be made.
    #[error(transparent)]
    Split(#[from] datasets::SplitError),
    /// The image embeddings cannot be used.
    #[error(transparent)]
    Embeddings(#[from] precompute::Error),
    /// Keywords cannot be used.
    #[error(transparent)]
    Keywords(#[from] keywords::Error),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] words::TokenizerError),
    /// Model weights cannot be read or written.
    #[error(transparent)]
    Weights(#[from] networks::weights::WeightsError),
    /// GPT-2 or CLIP cannot be used.
    #[error(transparent)]
    Model(#[from] networks::ModelError),
    /// The decoding strategy cannot be used.
    #[error(transparent)]
    Decoding(#[from] networks::decode::StrategyError),
    /// The device cannot be used.
    #[error(transparent)]
    Device(#[from] networks::device::DeviceError),
    /// Other processes cannot be found, or were lost.
    #[error(transparent)]
    Collectives(#[from] collectives::Error),
    /// A run folder cannot be used.
    #[error(transparent)]
    Run(#[from] runs::Error),
    /// Metrics cannot be written.
    #[error(transparent)]
    Metrics(#[from] runs::metrics::MetricsError),
    /// A file cannot be written.
    #[error(transparent)]
    Durable(#[from] durable::Error),
    /// Captions cannot be scored.
    #[error(transparent)]
    Scores(#[from] caption_metrics::Error),
    /// A PyTorch file or pickle cannot be used.
    #[error(transparent)]
    TorchFile(#[from] torch_files::Error),
    /// Image features of another program cannot be used.
    #[error(transparent)]
    Features(#[from] image_features::Error),
    /// Memory is exhausted.
    #[error("{source}\nhint: {hint}")]
    OutOfMemory {
        /// The memory, and the size of the allocation that failed.
        source: OutOfMemory,
        /// Keys or options that need less.
        hint: String,
    },
    /// libtorch refused an operation.
    #[error("libtorch: {}", networks::libtorch::reason(.0))]
    Torch(#[from] tch::TchError),
    /// A file in a run folder cannot be read or has unexpected contents.
    #[error("{}: {reason}", printable_path(path))]
    RunFile {
        /// The file.
        path: PathBuf,
        /// Reason for the error, with a hint.
        reason: String,
    },
    /// Parts of a run do not fit together.
    #[error("{0}")]
    Mismatch(String),
    /// Loss or gradients are not finite; nothing was updated or saved after the last checkpoint.
    #[error(
        "{what} is {value} at step {step}; checkpoints written before are complete. The batch's {captions} captions are listed in {}, starting with:\n{first}\nTry a lower optimizer.learning_rate, or clip gradients with optimizer.max_grad_norm",
        printable_path(list)
    )]
    NotFinite {
        /// "loss" or "gradient norm".
        what: &'static str,
        /// NaN or an infinity.
        value: f64,
        /// Steps finished before, plus one.
        step: u64,
        /// Captions in the batch.
        captions: usize,
        /// File with all of them.
        list: PathBuf,
        /// The first few.
        first: String,
    },
}
