//! The sections that the config of every system has, and the sources of their defaults.
//!
//! The defaults are those of the plain CLIP-prefix row, in the paper's notebook `Gradient_CLIPPING`;
//! [`Config::default_of`](crate::Config::default_of) has what SBG and Merge-RNN set otherwise.

use std::path::PathBuf;

use datasets::{Layout, SplitKind, SplitSpec};
use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::strategy::Strategy;

/// Captions, split and image embeddings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Folder with the captions file and the pictures, relative to the folder a command starts in.
    /// Default `data/flickr8k`.
    pub dataset: PathBuf,
    /// `auto` (default), `kaggle`, `original`, `karpathy` or `webdataset`.
    pub layout: String,
    /// `paper` (by position, default), `official` or `karpathy`.
    pub split: SplitKind,
    /// Paper split: test set, as caption rows at the end of the file. Default 5,000 (paper).
    pub test_captions: usize,
    /// Paper split: caption rows before those that are held out. Default 0: the paper's prefix models
    /// train on all the rest; 5,000 for SBG and Merge-RNN.
    pub validation_captions: usize,
    /// Embeddings that `capsmith precompute` wrote. Default: CLIP ViT-L/14's beside the data set.
    pub embeddings: PathBuf,
    /// Divide each embedding by its L2 norm. Default false, as `ClipCap`; the paper's run with gradient
    /// clipping, SBG and Merge-RNN do.
    pub normalize_embeddings: bool,
}

impl Data {
    /// Returns the layout to load, `None` for `auto`.
    ///
    /// # Errors
    /// Names the layouts there are.
    pub fn layout(&self) -> Result<Option<Layout>, ConfigError> {
        if self.layout == "auto" {
            return Ok(None);
        }
        self.layout.parse().map(Some).map_err(|_| ConfigError::OutOfRange {
            key: "data.layout".to_owned(),
            value: format!("\"{}\"", self.layout),
            expected: "auto, kaggle, original, karpathy or webdataset".to_owned(),
        })
    }

    /// Returns the split as the loaders take it.
    #[must_use]
    pub fn split_spec(&self) -> SplitSpec {
        SplitSpec {
            kind: self.split,
            test_captions: self.test_captions,
            validation_captions: self.validation_captions,
        }
    }
}

/// The training loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "a key each, as people set them")]
pub struct Training {
    /// `cpu`, `cuda` or `cuda:N`. Default `cuda:0`; `cpu` for Merge-RNN.
    pub device: String,
    /// CPU threads. Default 0: all cores.
    pub threads: usize,
    /// Seconds that several processes wait for each other before the job ends. Default 600.
    pub peer_timeout_seconds: u64,
    /// Decides initial weights, the order of captions and dropout. Default 42.
    pub seed: u64,
    /// Passes over the training captions. Default 30 (the paper's notebook); 10 for SBG, at most 100
    /// for Merge-RNN.
    pub epochs: u64,
    /// Captions in a batch. Default 40 (`ClipCap`); 8 blocks for SBG, 50 for Merge-RNN.
    pub batch_size: usize,
    /// Parts that a batch is computed in, for less memory. Default 1. The update is that of the whole
    /// `batch_size`: this divides our batch, where transformers' key of this name multiplies its own.
    pub gradient_accumulation_steps: usize,
    /// Batches of captions of like length: faster, in another order than the paper's. Default false.
    pub sort_by_length: bool,
    /// Type of matrix products: `f32` (default), `tf32` (GPUs) or `bf16`.
    pub precision: Precision,
    /// On a GPU, use only algorithms that give the same bits each time, which are slower; a processor's
    /// always do. Default false.
    pub deterministic: bool,
    /// Compute activations again for the gradients instead of keeping them: less memory, more time.
    /// Default false.
    pub gradient_checkpointing: bool,
    /// Leave out an epoch's last batch where it is not whole. Default true (`ClipCap`'s loader); false
    /// for SBG and Merge-RNN.
    pub drop_last_batch: bool,
    /// Stop when the loss has not improved for this many epochs in a row; 0 for never. Default 3 (the
    /// paper's notebook); never for SBG, 1 for Merge-RNN.
    pub early_stop_epochs: u64,
    /// Loss that decides: `last-batch` (default, the paper's notebook) or `held-out`.
    pub early_stop_on: EarlyStopOn,
    /// Steps between fetching losses from the device and writing them down. Default 10.
    pub log_every_steps: u64,
    /// Steps between checkpoints, besides those after each epoch; 0 for none. Default 500.
    pub checkpoint_every_steps: u64,
    /// Newest checkpoints kept. Default 2.
    pub save_total_limit: usize,
    /// Also keep the checkpoint of the epoch with the lowest loss: on the held-out captions where there
    /// are any, else of the last batch. Default true.
    pub keep_best_checkpoint: bool,
    /// Also keep the checkpoint of every this many steps; 0 for none. Default 0.
    pub keep_every_steps: u64,
    /// Pictures captioned and scored after each epoch, held-out ones where there are any, else test
    /// pictures; 0 for none. Default 200.
    pub scored_pictures: usize,
}

/// Loss that decides when training stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyStopOn {
    /// The loss of an epoch's last batch.
    LastBatch,
    /// The loss on the held-out captions.
    HeldOut,
}

/// Type of matrix products; all else is f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32, the reference's.
    F32,
    /// On GPUs that have it, f32 with the mantissa rounded to ten bits; on others f32.
    Tf32,
    /// bfloat16, as PyTorch's autocast has it.
    Bf16,
}

/// One of a run's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckpointChoice {
    /// The newest.
    #[default]
    Newest,
    /// The checkpoint of the epoch with the lowest loss.
    Best,
}

/// AdamW with a schedule and clipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// AdamW of `transformers` (default, `ClipCap`) or of `torch` (SBG).
    pub rule: Rule,
    /// `linear` (default) or `constant` (Merge-RNN) after the warm-up.
    pub schedule: Schedule,
    /// Peak of the schedule. Default 2e-5 (`ClipCap`); 5e-5 for SBG, 1e-3 for Merge-RNN.
    pub learning_rate: f64,
    /// Decay of the first moment. Default 0.9.
    pub beta1: f64,
    /// Decay of the second moment. Default 0.999.
    pub beta2: f64,
    /// Added to the root of the second moment. Default 1e-6 (transformers 4.x); 1e-8 for SBG (its
    /// `Trainer`) and Merge-RNN (TensorFlow's recipe).
    pub epsilon: f64,
    /// Decoupled weight decay. Default 0.
    pub weight_decay: f64,
    /// Steps from 0 to the peak. Default 100 (the paper's notebook); 0 for SBG and Merge-RNN.
    pub warmup_steps: u64,
    /// Total L2 norm that all gradients are clipped to; 0 for no clipping. Default 0; the paper's run
    /// with gradient clipping and SBG (transformers' `Trainer`) have 1.
    pub max_grad_norm: f64,
}

/// AdamW's epsilon and decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// As transformers 4.x: epsilon before bias correction, decay after the step. Without decay this
    /// is TensorFlow's Adam.
    Transformers,
    /// As PyTorch: epsilon after bias correction, decay before the step.
    Torch,
}

/// Learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Falls linearly to 0 at the last step of the last epoch.
    Linear,
    /// Stays.
    Constant,
}

/// Generation of captions, up to the first '.'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoding {
    /// Tokens at most, after the prompt; words for Merge-RNN. Default 67 (`ClipCap`); 256 for SBG, 20
    /// for Merge-RNN.
    pub max_new_tokens: usize,
    /// Remove spaces before punctuation and shortened words before a caption is cut, as the `decode`
    /// of transformers 4.x does. Default true; not for Merge-RNN, which writes whole words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_up_tokenization_spaces: Option<bool>,
    /// Pictures captioned together. Default 0: a number that suits the device
    /// ([`Self::pictures_together`]).
    pub batch_size: usize,
    /// Choice of the next token. Default greedy (the paper's); 5 samples for SBG, 3 beams for
    /// Merge-RNN.
    pub strategy: Strategy,
}

impl Decoding {
    /// Returns how many pictures are captioned together; captions depend on it by rounding only.
    ///
    /// Unless set, 64, and on a GPU 256 where each picture has one caption under way: behind 10
    /// vectors and with 67 tokens their keys and values take 2.2 GB in GPT-2 small, 5.8 GB in medium.
    #[must_use]
    pub fn pictures_together(&self, on_gpu: bool) -> usize {
        match self.batch_size {
            0 if on_gpu && self.strategy.continuations() == 1 => 256,
            0 => 64,
            set => set,
        }
    }
}
