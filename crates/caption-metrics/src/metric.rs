//! Families of scores, by name.

use std::str::FromStr;

use crate::names::{UnknownName, parse};

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
