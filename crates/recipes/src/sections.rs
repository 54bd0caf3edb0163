//! Sections that the config of every system has, with the sources of their defaults.
//!
//! The defaults are those of the plain CLIP-prefix row, in the paper's notebook
//! `Gradient_CLIPPING`; [`Config::default_of`](crate::Config::default_of) has the different values
//! of SBG and Merge-RNN.

use std::path::PathBuf;

use datasets::{Columns, Layout, Source, SplitKind, SplitSpec};
use serde::{Deserialize, Serialize};

use crate::constraints::Constraints;
use crate::error::ConfigError;
use crate::strategy::Strategy;

/// Captions, split and image embeddings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Folder with the captions file and the images. Default `data/flickr8k`.
    ///
    /// A relative path starts at the current folder of the command. A pattern of tar archives such
    /// as `shards/{000..100}.tar` may take its place.
    pub dataset: PathBuf,
    /// Name of a layout, see [`Layout`]. Default `auto`: found in the folder.
    pub layout: String,
    /// Captions file (CSV, TSV, JSON Lines or COCO's JSON). Default empty: found in the folder.
    pub captions: PathBuf,
    /// Column of file names in a table of captions. Default empty: one of a usual name.
    pub image_column: String,
    /// Column of captions in a table of captions. Default empty: one of a usual name.
    pub caption_column: String,
    /// Folder of the images. Default empty: found in `dataset`.
    pub images: PathBuf,
    /// `paper` (by position, default), `official`, `karpathy`, `lists`, `given`, or shares.
    ///
    /// Shares such as `80/10/10` are of training, validation and test images; see [`SplitKind`].
    pub split: SplitKind,
    /// Seed of a split by shares. Default 42.
    pub split_seed: u64,
    /// Paper split: size of the test set, as caption rows at the end of the file. Default 5,000.
    pub test_captions: usize,
    /// Paper split: held-out caption rows before the test set. Default 0.
    ///
    /// The paper's prefix models train on all other rows; SBG and Merge-RNN hold out 5,000.
    pub validation_captions: usize,
    /// Embeddings that `capsmith precompute` wrote. Default: those of CLIP ViT-L/14.
    pub embeddings: PathBuf,
    /// Divide each embedding by its L2 norm. Default false, as `ClipCap`.
    ///
    /// The paper's run with gradient clipping, SBG and Merge-RNN do.
    pub normalize_embeddings: bool,
}

impl Data {
    /// Returns the layout to load, `None` for `auto`.
    ///
    /// # Errors
    /// Lists the known layouts.
    pub fn layout(&self) -> Result<Option<Layout>, ConfigError> {
        if self.layout == "auto" {
            return Ok(None);
        }
        self.layout.parse().map(Some).map_err(|_| ConfigError::OutOfRange {
            key: "data.layout".to_owned(),
            value: format!("\"{}\"", self.layout),
            expected: format!("auto or one of {}", Layout::names()),
        })
    }

    /// Returns the data set in the form that the loaders take.
    ///
    /// # Errors
    /// Lists the known layouts.
    pub fn source(&self) -> Result<Source, ConfigError> {
        let path = |path: &PathBuf| Some(path.clone()).filter(|path| !path.as_os_str().is_empty());
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        Ok(Source {
            dataset: self.dataset.clone(),
            layout: self.layout()?,
            captions: path(&self.captions),
            images: path(&self.images),
            columns: Columns {
                image: text(&self.image_column),
                caption: text(&self.caption_column),
            },
        })
    }

    /// Sets the data set, as [`Self::source`] returns it.
    pub fn set_source(&mut self, source: &Source) {
        let Source { dataset, layout, captions, images, columns } = source.clone();
        self.dataset = dataset;
        self.layout = layout.map_or_else(|| "auto".to_owned(), |layout| layout.to_string());
        self.captions = captions.unwrap_or_default();
        self.images = images.unwrap_or_default();
        self.image_column = columns.image.unwrap_or_default();
        self.caption_column = columns.caption.unwrap_or_default();
    }

    /// Returns the split in the form that the loaders take.
    #[must_use]
    pub fn split_spec(&self) -> SplitSpec {
        SplitSpec {
            kind: self.split,
            test_captions: self.test_captions,
            validation_captions: self.validation_captions,
            seed: self.split_seed,
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
    /// Seconds that processes wait for each other before the job ends. Default 600.
    pub peer_timeout_seconds: u64,
    /// Seed of initial weights, order of captions and dropout. Default 42.
    pub seed: u64,
    /// Passes over the training captions. Default 30 (the paper's notebook).
    ///
    /// SBG has 10, Merge-RNN at most 100.
    pub epochs: u64,
    /// Captions in a batch. Default 40 (`ClipCap`); 8 blocks for SBG, 50 for Merge-RNN.
    pub batch_size: usize,
    /// Number of microbatches of a batch, to save memory. Default 1.
    ///
    /// The update is that of the whole `batch_size`: capsmith divides the batch, whereas
    /// transformers' key of this name multiplies its own.
    pub gradient_accumulation_steps: usize,
    /// Batch captions of similar length: faster, but not the paper's order. Default false.
    pub sort_by_length: bool,
    /// Type of matrix products: `f32` (default), `tf32` (GPUs) or `bf16`.
    pub precision: Precision,
    /// On a GPU, use only deterministic algorithms, which are slower. Default false.
    ///
    /// Algorithms of a CPU always are.
    pub deterministic: bool,
    /// Recompute activations for the gradients to save memory, at more time. Default false.
    pub gradient_checkpointing: bool,
    /// Drop an epoch's last batch if it is incomplete. Default true (`ClipCap`'s loader).
    ///
    /// SBG and Merge-RNN have false.
    pub drop_last_batch: bool,
    /// Epochs in a row without a lower loss before training stops; 0 for never.
    ///
    /// Default 3 (the paper's notebook); never for SBG, 1 for Merge-RNN.
    pub early_stop_epochs: u64,
    /// Loss that decides: `last-batch` (default, the paper's notebook) or `held-out`.
    pub early_stop_on: EarlyStopOn,
    /// Steps between fetching losses from the device and logging them. Default 10.
    pub log_every_steps: u64,
    /// Steps between checkpoints within an epoch; 0 for none. Default 500.
    ///
    /// Each epoch also ends with a checkpoint.
    pub checkpoint_every_steps: u64,
    /// Number of newest checkpoints to keep. Default 2.
    pub save_total_limit: usize,
    /// Also keep the checkpoint of the epoch with the lowest loss. Default true.
    ///
    /// This is the loss on the held-out captions if there are any, else of the last batch.
    pub keep_best_checkpoint: bool,
    /// Also keep the checkpoint of every this many steps; 0 for none. Default 0.
    pub keep_every_steps: u64,
    /// Images captioned and scored after each epoch; 0 for none. Default 200.
    ///
    /// These are held-out images if there are any, else test images.
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

/// Type of matrix products; all other operations are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32, as in the reference.
    F32,
    /// f32 with the mantissa rounded to ten bits, on GPUs that have it; on others f32.
    Tf32,
    /// bfloat16, as PyTorch's autocast applies it.
    Bf16,
}

/// Type of weights and activations while captions are generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecodingDtype {
    /// f32, as in the reference.
    #[default]
    F32,
    /// f32 whose matrix products round the mantissa to ten bits, on GPUs that have it.
    Tf32,
    /// bfloat16. Probabilities are computed in f32 from its logits.
    Bf16,
    /// Half precision. Probabilities are computed in f32 from its logits.
    F16,
}

/// Choice of a run's checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckpointChoice {
    /// The newest checkpoint.
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
    /// Total L2 norm to which gradients are clipped; 0 for no clipping. Default 0.
    ///
    /// The paper's run with gradient clipping and SBG (transformers' `Trainer`) have 1.
    pub max_grad_norm: f64,
}

/// AdamW's epsilon and decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Rule of transformers 4.x: epsilon before bias correction, decay after the step.
    ///
    /// Without decay this is TensorFlow's Adam.
    Transformers,
    /// Rule of PyTorch: epsilon after bias correction, decay before the step.
    Torch,
}

/// Learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Falls linearly to 0 at the last step of the last epoch.
    Linear,
    /// Stays at the peak.
    Constant,
}

/// Generation of captions, up to the first '.'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decoding {
    /// Largest number of tokens after the prompt; words for Merge-RNN.
    ///
    /// Default 67 (`ClipCap`); 256 for SBG, 20 for Merge-RNN.
    pub max_new_tokens: usize,
    /// Remove spaces before punctuation and contractions. Default true.
    ///
    /// This happens before a caption is cut, as in the `decode` of transformers 4.x. Merge-RNN,
    /// which writes whole words, does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_up_tokenization_spaces: Option<bool>,
    /// Type of weights and activations. Default f32.
    ///
    /// Others are faster and take half the memory, and some captions come out differently.
    /// Merge-RNN, which is small, is computed in f32 or tf32.
    #[serde(default)]
    pub dtype: DecodingDtype,
    /// Images captioned at the same time. Default 0: see [`Self::caption_batch_size`].
    pub batch_size: usize,
    /// Constraints on the tokens. Merge-RNN has none.
    #[serde(flatten)]
    pub constraints: Constraints,
    /// Choice of the next token. Default greedy (paper); 5 samples for SBG, 3 beams for Merge-RNN.
    pub strategy: Strategy,
}

impl DecodingDtype {
    /// All types.
    pub const ALL: [Self; 4] = [Self::F32, Self::Tf32, Self::Bf16, Self::F16];

    /// Returns the name in configs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }
}

impl Decoding {
    /// Returns the number of images in a batch; captions depend on it by rounding only.
    ///
    /// The default is 64, and 256 on a GPU if each image has one continuation: after 10 vectors and
    /// with 67 tokens their keys and values take 2.2 GB in GPT-2 small, 5.8 GB in medium.
    #[must_use]
    pub fn caption_batch_size(&self, on_gpu: bool) -> usize {
        match self.batch_size {
            0 if on_gpu && self.strategy.continuations() == 1 => 256,
            0 => 64,
            set => set,
        }
    }
}
