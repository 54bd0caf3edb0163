//! Captioning systems: the sections that only one of them has, and each system's defaults.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::strategy::{Sampling, Strategy, default_beams};

/// Captioning system that a run trains.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "system", rename_all = "kebab-case")]
pub enum System {
    /// A mapper from a CLIP image embedding to GPT-2's prefix, and GPT-2, trained together.
    ClipPrefix(ClipPrefix),
    /// Selective blind guessing (SBG).
    ///
    /// GPT-2 writes captions from keywords that CLIP selects, and CLIP reranks the captions.
    Sbg(Sbg),
    /// A recurrent network over words and image features.
    MergeRnn(MergeRnn),
}

impl System {
    /// Returns the name of the system in configs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ClipPrefix(_) => "clip-prefix",
            Self::Sbg(_) => "sbg",
            Self::MergeRnn(_) => "merge-rnn",
        }
    }

    /// Returns the name of the system in the paper, for people.
    #[must_use]
    pub fn title(&self) -> &'static str {
        match self {
            Self::ClipPrefix(_) => "CLIP-prefix",
            Self::Sbg(_) => "SBG",
            Self::MergeRnn(_) => "Merge-RNN",
        }
    }

    /// Returns the paper's name of a choice among `among` captions.
    #[must_use]
    pub fn choice_title(among: usize) -> String {
        match among {
            1 => "one caption".to_owned(),
            _ => format!("top-{among}"),
        }
    }

    /// Returns the language model that training starts from, if any.
    #[must_use]
    pub fn language_model(&self) -> Option<&str> {
        match self {
            Self::ClipPrefix(ClipPrefix { gpt2, .. }) => Some(&gpt2.model),
            Self::Sbg(Sbg { gpt2, .. }) => Some(&gpt2.model),
            Self::MergeRnn(_) => None,
        }
    }
}

/// Settings of the CLIP-prefix system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipPrefix {
    /// Language model.
    pub gpt2: Gpt2,
    /// Tokenizer of the captions.
    pub tokenizer: Tokenizer,
    /// Mapper from image embedding to prefix vectors.
    pub mapper: Mapper,
}

/// Settings of selective blind guessing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sbg {
    /// Language model, all of which is trained.
    pub gpt2: LanguageModel,
    /// Keyword files.
    pub keywords: Keywords,
    /// Texts that the language model learns from.
    pub text: Text,
    /// Choice of one of several captions.
    pub reranking: Reranking,
}

/// Settings of the recurrent captioners.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeRnn {
    /// Vocabulary.
    pub vocabulary: Vocabulary,
    /// Shape of the network.
    pub network: Network,
}

/// The language model of the CLIP-prefix system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpt2 {
    /// Hugging Face folder, run folder, or model of the hub. Default `weights/gpt2`.
    ///
    /// `hub::ModelReference` parses it.
    pub model: String,
    /// `full` (default) or `frozen`.
    pub tuning: Tuning,
}

/// Training of GPT-2's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tuning {
    /// All weights are trained, with dropout.
    Full,
    /// No weight is trained, and dropout is off: `ClipCap`'s "prefix only".
    Frozen,
}

/// Tokenizer of the captions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Tokenizer {
    /// The tokenizer of the language model's folder (default).
    Pretrained {},
    /// A byte-level BPE trained on the training captions.
    ///
    /// GPT-2's embeddings are resized to it; rows keep their index.
    Custom {
        /// Largest vocabulary size. Default 50,257, as GPT-2's.
        vocab_size: usize,
    },
}

impl Tokenizer {
    pub(crate) fn kinds() -> [Self; 2] {
        [Self::Pretrained {}, Self::Custom { vocab_size: 50_257 }]
    }
}

/// Mapper from an image embedding to prefix vectors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mapper {
    /// `mlp` (default) or `transformer`.
    #[serde(flatten)]
    pub kind: MapperKind,
    /// Prefix vectors before the caption. Default 10 (`ClipCap`).
    pub prefix_length: i64,
    /// Dropout probability of the embedding's values in training. Default 0 (`ClipCap`).
    #[serde(default)]
    pub dropout: f64,
    /// Standardises each value of the embedding first, by its mean and standard deviation over the
    /// training images. Default false (`ClipCap`).
    #[serde(default)]
    pub standardize: bool,
}

/// Network of the mapper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum MapperKind {
    /// Two linear layers with tanh between them.
    Mlp,
    /// `ClipCap`'s transformer.
    Transformer {
        /// Vectors that the image embedding is projected to. Default 10 (`ClipCap`).
        clip_length: i64,
        /// Layers. Default 8 (`ClipCap`).
        layers: i64,
    },
}

impl Mapper {
    pub(crate) fn kinds() -> [Self; 2] {
        let transformer = MapperKind::Transformer { clip_length: 10, layers: 8 };
        [MapperKind::Mlp, transformer].map(|kind| Self {
            kind,
            prefix_length: 10,
            dropout: 0.0,
            standardize: false,
        })
    }
}

impl Strategy {
    pub(crate) fn kinds() -> [Self; 3] {
        [
            Self::Greedy {},
            Self::Beam { num_beams: default_beams() },
            Self::Sampling(Sampling::default()),
        ]
    }
}

/// The language model of selective blind guessing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageModel {
    /// Model reference, as [`Gpt2::model`].
    pub model: String,
}

/// Keyword files for SBG, written by `capsmith keywords build` and `select`.
///
/// The default folder is `data/flickr8k/keywords`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keywords {
    /// Keywords selected for the data set's images.
    pub selected: PathBuf,
    /// Labels that keywords are selected from, to caption other images.
    pub labels: PathBuf,
    /// Encyclopedia that keywords are selected from, to caption other images.
    pub encyclopedia: PathBuf,
}

/// Training texts of SBG: `kw1, kw2, ... ### caption<|endoftext|>`.
///
/// The texts are shuffled, joined and cut into blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Tokens in a block. Default 480 (paper).
    pub block_size: usize,
    /// Texts joined before cutting; a remainder shorter than a block is dropped.
    ///
    /// Default 1,000 (`map` of Hugging Face's datasets).
    pub texts_together: usize,
    /// `all` (default) or `caption`.
    pub loss: TextLoss,
}

/// Tokens that the loss is computed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TextLoss {
    /// All tokens, as in the paper.
    All,
    /// Tokens of captions and their ends, without keywords.
    Caption,
}

/// Choice of one of several captions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reranking {
    /// CLIP model whose text tower compares captions with images. It must be that of the
    /// embeddings. Default `weights/clip-vit-large-patch14`.
    pub clip: String,
    /// Numbers of captions to choose among; each is scored. Default 1, 2 and 5 (paper).
    pub best_of: Vec<usize>,
}

/// Vocabulary of a recurrent captioner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vocabulary {
    /// Minimum occurrences of a word in the training captions; rarer words become unknown.
    ///
    /// Default 3; the authors use 3, 4 and 5.
    pub min_frequency: u64,
}

/// Shape of a recurrent captioner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// `merge` (default) or `inject`.
    pub architecture: Architecture,
    /// Size of word embeddings, of the recurrent layer and of the projected image.
    ///
    /// Default 256; the authors use 128, 256 and 512.
    pub layer_size: i64,
    /// Dropout probability in training of the image embedding, the word embeddings and the states
    /// before the softmax. Default 0, as in the paper.
    #[serde(default)]
    pub dropout: f64,
    /// Standardises each value of the image embedding first, by its mean and standard deviation
    /// over the training images. Default false, as in the paper.
    #[serde(default)]
    pub standardize: bool,
}

/// Entry point of the image into a recurrent captioner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Joined with the LSTM's output: the LSTM reads only words.
    Merge,
    /// Into the LSTM, together with each word.
    Inject,
}
