//! The metrics to compute and the tokenizer of captions.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::frequencies::CiderFrequencies;
use crate::meteor::Resources;
use crate::report::KeyStyle;
use crate::subset::Subset;

/// Tokenizer of captions before they are scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenizer {
    /// Captions are scored unchanged, case and punctuation included, as pycocoevalcap's scorers do
    /// when they are called directly, and as the notebooks behind the paper's tables do.
    #[default]
    None,
    /// pycocoevalcap's `PTBTokenizer`: Penn Treebank tokens, lower-cased, punctuation dropped, as its
    /// `COCOEvalCap` does.
    Ptb,
}

impl fmt::Display for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Ptb => "ptb",
        })
    }
}

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

/// A name that is none of the known ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {kind} {name:?}; known are {known}")]
pub struct UnknownName {
    kind: &'static str,
    name: String,
    known: String,
}

/// Returns the value of a name among those of one kind.
fn parse<T: Copy>(kind: &'static str, name: &str, known: &[(&str, T)]) -> Result<T, UnknownName> {
    let found = known.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let known = known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        UnknownName { kind, name: name.to_owned(), known }
    })
}

impl FromStr for Metric {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let names = ["bleu", "meteor", "rouge", "cider"];
        let known: Vec<_> = names.into_iter().zip(Self::ALL).collect();
        parse("metric", name, &known)
    }
}

impl FromStr for Tokenizer {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("tokenizer", name, &[("none", Self::None), ("ptb", Self::Ptb)])
    }
}

impl FromStr for KeyStyle {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let known = [("plain", Self::Plain), ("pycocoevalcap", Self::Pycocoevalcap)];
        parse("key style", name, &known)
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
