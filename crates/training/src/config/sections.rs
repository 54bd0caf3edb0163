//! The sections that every system's configuration has.

use std::path::PathBuf;

use flickr::{Layout, SplitKind, SplitSpec};
use networks::{decode, device};
use serde::{Deserialize, Serialize};
use tch::Device;

use super::ConfigError;

/// Captions, split and image embeddings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Folder with the captions file and the pictures.
    pub dataset: PathBuf,
    /// `auto`, `kaggle`, `original`, `karpathy` or `webdataset`.
    pub layout: String,
    /// `paper`, `official` or `karpathy`.
    pub split: SplitKind,
    /// Paper split: how many caption rows at the end are the test set.
    pub test_captions: usize,
    /// Paper split: how many rows before those are held out.
    pub validation_captions: usize,
    /// The file that `capsmith precompute` wrote.
    pub embeddings: PathBuf,
    /// Divide each embedding by its L2 norm.
    pub normalize_embeddings: bool,
}

impl Data {
    /// The layout to load, `None` when it is to be recognised.
    ///
    /// # Errors
    /// Names the layouts there are.
    pub fn layout(&self) -> Result<Option<Layout>, ConfigError> {
        if self.layout == "auto" {
            return Ok(None);
        }
        self.layout.parse().map(Some).map_err(|_| ConfigError::OutOfRange {
            key: "data.layout",
            value: format!("\"{}\"", self.layout),
            expected: "auto, kaggle, original, karpathy or webdataset".to_owned(),
        })
    }

    /// The split as the loaders take it.
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
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// CPU threads, 0 for all cores.
    pub threads: usize,
    /// Where several processes train together, seconds that they wait for each other before the job ends.
    pub peer_timeout_seconds: u64,
    /// Decides the mapper's initial weights, the order of captions and dropout.
    pub seed: u64,
    /// Passes over the training captions.
    pub epochs: u64,
    /// Captions in a batch.
    pub batch_size: usize,
    /// Parts that a batch is computed in, for less memory. The update is the whole batch's.
    pub accumulation_steps: usize,
    /// Batches of captions of like length. Fewer rows wait for the longest, but the order is another.
    pub sort_by_length: bool,
    /// The type of matrix products.
    pub precision: Precision,
    /// On a GPU, use only algorithms that give the same bits each time, which are slower. A processor's
    /// always do. Off in runs that do not name it.
    #[serde(default)]
    pub deterministic: bool,
    /// Compute activations again for the gradients instead of keeping them: less memory, more time.
    pub gradient_checkpointing: bool,
    /// Leave out an epoch's last batch where it is not whole.
    pub drop_last_batch: bool,
    /// Epochs without improvement of the loss before training stops; 0 for never.
    pub early_stop_epochs: u64,
    /// Of which loss.
    pub early_stop_on: EarlyStopOn,
    /// Steps between fetching losses from the device.
    pub log_every_steps: u64,
    /// Steps between checkpoints, besides those at the end of each epoch; 0 for none.
    pub checkpoint_every_steps: u64,
    /// Newest checkpoints kept.
    pub keep_checkpoints: usize,
    /// Also keep that of the epoch with the lowest loss: on the held-out captions where there are
    /// any, of the last batch elsewhere.
    pub keep_best_checkpoint: bool,
    /// Also keep those of every so many steps; 0 for none.
    pub keep_every_steps: u64,
    /// Pictures that are captioned and scored after each epoch, the first of the validation split, or
    /// of the test split where none is held out; 0 for none.
    pub scored_pictures: usize,
}

/// The loss that decides when training stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EarlyStopOn {
    /// That of an epoch's last batch.
    LastBatch,
    /// That on the held-out captions.
    HeldOut,
}

/// The type of matrix products; all else is f32.
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

impl Training {
    /// The configured number of CPU threads; where that is 0, what [`device::cpu_threads`] gives this process.
    #[must_use]
    pub fn cpu_threads(&self) -> usize {
        match self.threads {
            0 => device::cpu_threads(launchers::local_world_size()),
            threads => threads,
        }
    }
}

/// AdamW with a schedule and clipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// Whose AdamW.
    pub rule: Rule,
    /// How the rate changes.
    pub schedule: Schedule,
    /// The peak of the schedule.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment, where the rule has it.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Steps from 0 to the peak.
    pub warmup_steps: u64,
    /// Total gradient norm to clip to; 0 for no clipping.
    pub max_gradient_norm: f64,
}

/// Where AdamW adds epsilon, and when it decays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// As transformers 4.x: epsilon before bias correction, decay after the step. Without decay this
    /// is TensorFlow's Adam.
    Transformers,
    /// As PyTorch: epsilon after bias correction, decay before the step.
    Torch,
}

/// How the learning rate changes behind the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Linear to 0 at the last step of the last epoch.
    Linear,
    /// Not at all.
    Constant,
}

/// How captions are generated, up to the first '.'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoding {
    /// Tokens at most; words where a system writes words.
    pub max_tokens: usize,
    /// Spaces before punctuation and shortened words are removed before a caption is cut, as the
    /// `decode` of transformers 4.x does. Off in runs that do not name it; not for whole words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean_up_tokenization_spaces: Option<bool>,
    /// Pictures captioned together; 0 for a number that suits the device
    /// ([`Self::pictures_together`]).
    pub batch_size: usize,
    /// How the next token is chosen.
    pub strategy: Strategy,
}

impl Decoding {
    /// Returns how many pictures are captioned together on `device`. Captions depend on it by rounding only.
    ///
    /// Not set, these are 64, and on a GPU 256 where each picture has one caption under way: behind 10
    /// vectors and with 67 tokens their keys and values take 2.2 GB in GPT-2 small, 5.8 GB in medium.
    #[must_use]
    pub fn pictures_together(&self, device: Device) -> usize {
        match self.batch_size {
            0 if device.is_cuda() && self.strategy.continuations() == 1 => 256,
            0 => 64,
            set => set,
        }
    }
}

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Strategy {
    /// The most probable: the paper's.
    Greedy {},
    /// ClipCap's beam search.
    Beam {
        /// Sequences followed for each picture.
        beams: usize,
    },
    /// Drawn at random.
    Sampling {
        /// Captions drawn for each picture; the most probable is the caption.
        samples: usize,
        /// Logits are divided by it.
        temperature: f64,
        /// Only so many of the most probable tokens; 0 for all.
        top_k: usize,
        /// Only the most probable tokens that together have this probability; 1 for all.
        top_p: f64,
        /// Decides the draws.
        seed: u64,
    },
}

impl Strategy {
    /// Captions that are followed or drawn for each picture.
    #[must_use]
    pub fn continuations(&self) -> usize {
        self.steps().continuations()
    }

    /// As the decoder takes it.
    #[must_use]
    pub fn steps(&self) -> decode::Strategy {
        match *self {
            Self::Greedy {} => decode::Strategy::Greedy,
            Self::Beam { beams } => decode::Strategy::Beam { beams },
            Self::Sampling { samples, temperature, top_k, top_p, seed } => {
                decode::Strategy::Sample(decode::Sampling {
                    temperature,
                    top_k: Some(top_k).filter(|&top_k| top_k > 0),
                    top_p: Some(top_p).filter(|&top_p| top_p.to_bits() != 1.0_f64.to_bits()),
                    samples,
                    seed,
                })
            }
        }
    }
}
