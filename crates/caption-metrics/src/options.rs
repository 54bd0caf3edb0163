//! The settings of an evaluation.

use std::sync::Arc;

use crate::clip_score::ClipScore;
use crate::frequencies::CiderFrequencies;
use crate::meteor::Resources;
use crate::metric::Metric;
use crate::subset::Subset;
use crate::tokenizer::Tokenizer;

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
