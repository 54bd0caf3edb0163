//! The settings of an evaluation.

use std::str::FromStr;
use std::sync::Arc;

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
}

impl Metric {
    /// Every metric, in the order of results.
    pub const ALL: [Self; 4] = [Self::Bleu, Self::Meteor, Self::Rouge, Self::Cider];

    /// Returns the names of its scores, as in results.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Bleu => &["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"],
            Self::Meteor => &["METEOR"],
            Self::Rouge => &["ROUGE_L"],
            Self::Cider => &["CIDEr"],
        }
    }
}

impl FromStr for Metric {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let names = ["bleu", "meteor", "rouge", "cider"];
        let known: Vec<_> = names.into_iter().zip(Self::ALL).collect();
        parse("metric", name, &known)
    }
}

/// Settings of [`evaluate`](crate::evaluate).
#[derive(Clone, Debug)]
pub struct Options {
    /// Tokenizer of captions; none by default.
    pub tokenizer: Tokenizer,
    /// Metrics, where order and repetition do not matter; all but METEOR by default.
    pub metrics: Vec<Metric>,
    /// Resources of METEOR, if METEOR is among the metrics.
    pub meteor: Option<Resources>,
    /// Images that are scored; all by default.
    pub subset: Subset,
    /// Document frequencies of CIDEr; by default those of the scored images' references.
    pub cider_frequencies: Option<Arc<CiderFrequencies>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tokenizer: Tokenizer::default(),
            metrics: vec![Metric::Bleu, Metric::Rouge, Metric::Cider],
            meteor: None,
            subset: Subset::All,
            cider_frequencies: None,
        }
    }
}
