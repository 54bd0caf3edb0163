//! Diversity of predicted captions: vocabulary, distinct n-grams, novelty and length.

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use crate::interner::Interner;
use crate::tokenizer::Tokenizer;
use crate::words::Caption;
use crate::{Options, ptb};

/// Diversity of all predicted captions together; a single image has none.
///
/// Words are those that BLEU sees, so the tokenizer matters. Without any word the shares are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diversity {
    /// Number of distinct words (Shetty et al. 2017, arXiv 1703.10476).
    pub vocabulary: usize,
    /// Distinct words over all words (Li et al. 2016, arXiv 1510.03055).
    pub distinct_1: f64,
    /// Distinct pairs of adjacent words over all words, as Li et al. define it; other programs
    /// divide by the number of pairs.
    pub distinct_2: f64,
    /// Share of captions whose words are not those of any training caption, in order (Shetty et
    /// al.); `None` without [`Options::training_captions`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub novel: Option<f64>,
    /// Mean number of words in a caption.
    pub mean_length: f64,
}

impl Diversity {
    /// Returns names, as in JSON, and values; the share of novel captions only where it is known.
    #[must_use]
    pub fn entries(&self) -> Vec<(&'static str, f64)> {
        let Self { vocabulary, distinct_1, distinct_2, novel, mean_length } = *self;
        let counts = [("vocabulary", vocabulary as f64)];
        let distinct = [("distinct_1", distinct_1), ("distinct_2", distinct_2)];
        let novel = novel.map(|novel| ("novel", novel));
        counts
            .into_iter()
            .chain(distinct)
            .chain(novel)
            .chain([("mean_length", mean_length)])
            .collect()
    }
}

/// Counts the words of predictions.
pub(crate) struct Counter {
    numbers: Interner,
    words: FxHashSet<u32>,
    pairs: FxHashSet<[u32; 2]>,
    captions: usize,
    length: usize,
    novel: usize,
    training: Option<FxHashSet<Box<[u32]>>>,
}

impl Counter {
    pub(crate) fn new(options: &Options) -> Self {
        let mut numbers = Interner::default();
        let training = options.training_captions.as_deref().map(|captions| {
            let mut words = |text: &String| Caption::new(text, &mut numbers).words().into();
            match options.tokenizer {
                Tokenizer::None => captions.iter().map(words).collect(),
                Tokenizer::Ptb => ptb::tokenize(captions).captions.iter().map(&mut words).collect(),
            }
        });
        let (words, pairs) = (FxHashSet::default(), FxHashSet::default());
        Self { numbers, words, pairs, captions: 0, length: 0, novel: 0, training }
    }

    /// Adds a prediction, given as tokens.
    pub(crate) fn add(&mut self, prediction: &str) {
        let caption = Caption::new(prediction, &mut self.numbers);
        let words = caption.words();
        self.words.extend(words);
        self.pairs.extend(words.array_windows());
        self.captions += 1;
        self.length += words.len();
        let is_known = self.training.as_ref().is_some_and(|training| training.contains(words));
        self.novel += usize::from(!is_known);
    }

    pub(crate) fn finish(self) -> Diversity {
        let share = |count: usize, of: usize| count as f64 / of.max(1) as f64;
        Diversity {
            vocabulary: self.words.len(),
            distinct_1: share(self.words.len(), self.length),
            distinct_2: share(self.pairs.len(), self.length),
            novel: self.training.map(|_| share(self.novel, self.captions)),
            mean_length: share(self.length, self.captions),
        }
    }
}
