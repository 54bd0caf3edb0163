//! The settings of an evaluation.

use std::str::FromStr;
use std::sync::Arc;

use crate::clip_score::ClipScore;
use crate::frequencies::CiderFrequencies;
use crate::meteor::Resources;
use crate::names::{UnknownName, parse};
use crate::subset::Subset;
use crate::tokenizer::Tokenizer;

/// A family of scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// BLEU-1, BLEU-2, BLEU-3 and BLEU-4.
    Bleu,
    /// METEOR 1.5 for English; needs its resources.
    Meteor,
    /// ROUGE-L.
    Rouge,
    /// CIDEr (CIDEr-D).
    Cider,
    /// CLIPScore; needs a CLIP.
    ClipScore,
    /// RefCLIPScore; needs a CLIP.
    RefClipScore,
    /// CLIP score of torchmetrics; needs a CLIP.
    ClipScoreTorchmetrics,
    /// Diversity of the predictions, which has no scores of images: see
    /// [`Summary::diversity`](crate::Summary::diversity).
    Diversity,
}

impl Metric {
    /// Every metric, in the order of results.
    pub const ALL: [Self; 8] = [
        Self::Bleu,
        Self::Meteor,
        Self::Rouge,
        Self::Cider,
        Self::ClipScore,
        Self::RefClipScore,
        Self::ClipScoreTorchmetrics,
        Self::Diversity,
    ];

    /// Metrics of pycocoevalcap but SPICE, in the order of results.
    pub const PYCOCOEVALCAP: [Self; 4] = [Self::Bleu, Self::Meteor, Self::Rouge, Self::Cider];

    /// Returns its name, as in `--metrics`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bleu => "bleu",
            Self::Meteor => "meteor",
            Self::Rouge => "rouge",
            Self::Cider => "cider",
            Self::ClipScore => "clipscore",
            Self::RefClipScore => "refclipscore",
            Self::ClipScoreTorchmetrics => "clipscore-torchmetrics",
            Self::Diversity => "diversity",
        }
    }

    /// Returns whether a CLIP computes it.
    #[must_use]
    pub fn needs_clip(self) -> bool {
        matches!(self, Self::ClipScore | Self::RefClipScore | Self::ClipScoreTorchmetrics)
    }

    /// Returns the names of its scores, as in results.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Bleu => &["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"],
            Self::Meteor => &["METEOR"],
            Self::Rouge => &["ROUGE_L"],
            Self::Cider => &["CIDEr"],
            Self::ClipScore => &["CLIPScore"],
            Self::RefClipScore => &["RefCLIPScore"],
            Self::ClipScoreTorchmetrics => &["CLIPScore_torchmetrics"],
            Self::Diversity => &[],
        }
    }
}

impl FromStr for Metric {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("metric", name, &Self::ALL.map(|metric| (metric.name(), metric)))
    }
}

/// Settings of [`evaluate`](crate::evaluate).
#[derive(Clone, Debug)]
pub struct Options {
    /// Tokenizer of captions; none by default.
    pub tokenizer: Tokenizer,
    /// Metrics, where order and repetition do not matter; BLEU, ROUGE-L and CIDEr by default.
    pub metrics: Vec<Metric>,
    /// Resources of METEOR, if METEOR is among the metrics.
    pub meteor: Option<Resources>,
    /// Images that are scored; all by default.
    pub subset: Subset,
    /// Document frequencies of CIDEr; by default those of the scored images' references.
    pub cider_frequencies: Option<Arc<CiderFrequencies>>,
    /// CLIP, weight and prompt of CLIPScore, if one of its kind is among the metrics.
    pub clip: Option<ClipScore>,
    /// Captions of the training images, by which diversity tells novel predictions.
    pub training_captions: Option<Arc<[String]>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tokenizer: Tokenizer::default(),
            metrics: vec![Metric::Bleu, Metric::Rouge, Metric::Cider],
            meteor: None,
            subset: Subset::All,
            cider_frequencies: None,
            clip: None,
            training_captions: None,
        }
    }
}
