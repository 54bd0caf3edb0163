//! What to compute, and how captions are cut into words.

use std::str::FromStr;

use serde::Serialize;

use crate::meteor::Resources;

/// How captions become words before they are scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenizer {
    /// The captions are scored as they stand, case and punctuation included: what pycocoevalcap's
    /// scorers do when they are called directly, and what the notebooks behind the paper's tables do.
    #[default]
    None,
    /// pycocoevalcap's `PTBTokenizer`: Penn Treebank tokens, lower-cased, punctuation dropped. What
    /// its `COCOEvalCap` does.
    Ptb,
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

    /// The names of its scores, as in results.
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
#[error("unknown {what} {name:?}; known are {known}")]
pub struct UnknownName {
    what: &'static str,
    name: String,
    known: &'static str,
}

impl FromStr for Metric {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "bleu" => Ok(Self::Bleu),
            "meteor" => Ok(Self::Meteor),
            "rouge" => Ok(Self::Rouge),
            "cider" => Ok(Self::Cider),
            _ => Err(UnknownName {
                what: "metric",
                name: name.to_owned(),
                known: "bleu, meteor, rouge, cider",
            }),
        }
    }
}

impl FromStr for Tokenizer {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        match name {
            "none" => Ok(Self::None),
            "ptb" => Ok(Self::Ptb),
            _ => Err(UnknownName { what: "tokenizer", name: name.to_owned(), known: "none, ptb" }),
        }
    }
}

/// What [`evaluate`](crate::evaluate) computes.
#[derive(Clone, Debug)]
pub struct Options {
    /// How captions become words; as they stand unless said otherwise.
    pub tokenizer: Tokenizer,
    /// Which scores; order and repetition do not matter. All but METEOR unless said otherwise.
    pub metrics: Vec<Metric>,
    /// What METEOR needs, if METEOR is among the metrics.
    pub meteor: Option<Resources>,
    /// Scores only the images that have a prediction, as pycocoevalcap's example does; else an
    /// image with references and no prediction is an error.
    pub only_predicted: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tokenizer: Tokenizer::default(),
            metrics: vec![Metric::Bleu, Metric::Rouge, Metric::Cider],
            meteor: None,
            only_predicted: false,
        }
    }
}
