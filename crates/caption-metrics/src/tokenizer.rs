//! The choice of a tokenizer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::{UnknownName, parse};

/// Tokenizer of captions before they are scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenizer {
    /// Captions are scored unchanged, case and punctuation included, as pycocoevalcap's scorers do
    /// when they are called directly, and as the notebooks behind the paper's tables do.
    #[default]
    None,
    /// pycocoevalcap's `PTBTokenizer`: Penn Treebank tokens, lower-cased, punctuation dropped, as
    /// its `COCOEvalCap` does.
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

impl FromStr for Tokenizer {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("tokenizer", name, &[("none", Self::None), ("ptb", Self::Ptb)])
    }
}
