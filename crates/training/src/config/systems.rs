//! The captioning systems, and the sections that only one of them has.

use std::path::PathBuf;

use networks::prefix::{MapperConfig, MapperKind};
use serde::{Deserialize, Serialize};

/// The captioning system that a run trains.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "system", rename_all = "kebab-case")]
pub enum System {
    /// A mapper from a CLIP image embedding to GPT-2's prefix, and GPT-2, trained together.
    ClipPrefix(ClipPrefix),
    /// Selective blind guessing: GPT-2 writes captions from keywords that CLIP chose, and CLIP chooses
    /// among them.
    Sbg(Sbg),
    /// A recurrent network over words and image features.
    MergeRnn(MergeRnn),
}

impl System {
    /// As it is called in configurations.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ClipPrefix(_) => "clip-prefix",
            Self::Sbg(_) => "sbg",
            Self::MergeRnn(_) => "merge-rnn",
        }
    }

    /// The language model that training starts from, where there is one.
    #[must_use]
    pub fn language_model(&self) -> Option<&str> {
        match self {
            Self::ClipPrefix(ClipPrefix { gpt2, .. }) => Some(&gpt2.model),
            Self::Sbg(Sbg { gpt2, .. }) => Some(&gpt2.model),
            Self::MergeRnn(_) => None,
        }
    }

    /// How captions become words before they are scored: raw strings, as the paper scores, or Penn
    /// Treebank tokens as Merge-RNN's authors score.
    #[must_use]
    pub fn tokenizer(&self) -> caption_metrics::Tokenizer {
        match self {
            Self::ClipPrefix(_) | Self::Sbg(_) => caption_metrics::Tokenizer::None,
            Self::MergeRnn(_) => caption_metrics::Tokenizer::Ptb,
        }
    }
}

/// Of CLIP-prefix captioners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClipPrefix {
    /// The language model.
    pub gpt2: Gpt2,
    /// How captions become tokens.
    pub tokenizer: Tokenizer,
    /// From image embedding to prefix vectors.
    pub mapper: Mapper,
}

/// Of selective blind guessing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sbg {
    /// The language model, all of which is trained.
    pub gpt2: LanguageModel,
    /// What is said of each picture.
    pub keywords: Keywords,
    /// What the language model reads.
    pub text: Text,
    /// How one of several captions is chosen.
    pub reranking: Reranking,
}

/// Of recurrent captioners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeRnn {
    /// The words that it knows.
    pub vocabulary: Vocabulary,
    /// Its shape.
    pub network: Network,
}

/// The language model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpt2 {
    /// A Hugging Face folder, a run folder, or a model of the hub, as `hub::ModelReference` reads it.
    pub model: String,
    /// Whether its weights are trained.
    pub tuning: Tuning,
}

/// What of GPT-2 is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tuning {
    /// All of it, with dropout.
    Full,
    /// Nothing, and it is without dropout: ClipCap's "prefix only".
    Frozen,
}

/// How captions become tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Tokenizer {
    /// By the tokenizer beside the language model.
    Pretrained {},
    /// By a byte-level BPE trained on the training captions; GPT-2's embeddings are resized to it,
    /// rows kept by index.
    Custom {
        /// Most tokens it may have.
        vocab_size: usize,
    },
}

/// From image embedding to prefix vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Mapper {
    /// Two linear layers with tanh between.
    Mlp {
        /// Prefix vectors before the caption.
        prefix_length: i64,
    },
    /// ClipCap's transformer.
    Transformer {
        /// Prefix vectors before the caption.
        prefix_length: i64,
        /// Vectors that the image embedding is projected to.
        clip_length: i64,
        /// Layers.
        layers: i64,
    },
}

impl Mapper {
    /// Prefix vectors before the caption.
    #[must_use]
    pub fn prefix_length(&self) -> i64 {
        match *self {
            Self::Mlp { prefix_length } | Self::Transformer { prefix_length, .. } => prefix_length,
        }
    }

    /// The network for embeddings of `clip_dim` values.
    #[must_use]
    pub fn network(&self, clip_dim: usize) -> MapperConfig {
        let kind = match *self {
            Self::Mlp { .. } => MapperKind::Mlp,
            Self::Transformer { clip_length, layers, .. } => {
                MapperKind::Transformer { clip_length, layers }
            }
        };
        MapperConfig { kind, clip_dim: clip_dim as i64, prefix_length: self.prefix_length() }
    }
}

/// A language model that is trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageModel {
    /// As [`Gpt2::model`].
    pub model: String,
}

/// What is said of each picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keywords {
    /// The keywords of the data set's pictures, that `capsmith keywords select` wrote.
    pub selected: PathBuf,
    /// The labels that they were selected among.
    pub labels: PathBuf,
    /// The encyclopedia that they were selected in.
    pub encyclopedia: PathBuf,
}

/// What the language model reads: texts one behind the other, cut into blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Tokens in a block.
    pub block_size: usize,
    /// Texts that are put together before they are cut; what does not fill a block is left out.
    pub texts_together: usize,
    /// Which tokens the loss is of.
    pub loss: TextLoss,
}

/// Which tokens the loss is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextLoss {
    /// All: the paper's.
    All,
    /// Those of captions and what ends them, and not those of keywords.
    Caption,
}

/// How one of several captions is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reranking {
    /// The CLIP whose text tower compares captions with pictures: that of the embeddings.
    pub clip: String,
    /// For each of these numbers the best of so many captions is scored.
    pub best_of: Vec<usize>,
}

/// The words that a recurrent captioner knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vocabulary {
    /// Words that the training captions have less often are unknown.
    pub min_frequency: u64,
}

/// The shape of a recurrent captioner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Where the picture goes.
    pub architecture: Architecture,
    /// Size of word embeddings, of the recurrent layer and of the projected picture.
    pub layer_size: i64,
}

/// Where the picture goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Beside the recurrent layer's output.
    Merge,
    /// Into the recurrent layer, beside each word.
    Inject,
}
