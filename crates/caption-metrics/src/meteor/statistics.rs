//! The counts that METEOR scores, of one image or of many.

use std::ops::AddAssign;

use super::aligner::Match;
use super::lexicon::Word;

const ALPHA: f64 = 0.85;
const BETA: f64 = 0.20;
const GAMMA: f64 = 0.60;
const DELTA: f64 = 0.75;
/// The weights of exact, stem, synonym and paraphrase matches.
const WEIGHTS: [f64; 4] = [1.0, 0.6, 0.8, 0.6];

const HYPOTHESIS: usize = 0;
const REFERENCE: usize = 1;

/// METEOR's 23 counts. Pairs are of the hypothesis and of the reference.
///
/// Counts are `u32` for an image and `f64` for a corpus, where sums below 2^53 are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics<N = u32> {
    /// Words.
    pub words: [N; 2],
    /// Function words.
    pub function_words: [N; 2],
    /// Matched content words, by module (exact, stem, synonym, paraphrase).
    pub content_matches: [[N; 2]; 4],
    /// Matched function words, by module.
    pub function_matches: [[N; 2]; 4],
    /// Runs of matches that are in the same order on both sides.
    pub chunks: N,
    /// Matched words.
    pub matches: [N; 2],
}

impl Statistics {
    /// Counts an alignment.
    pub(super) fn of(
        hypothesis: &[&Word],
        reference: &[&Word],
        alignment: &[Option<Match>],
    ) -> Self {
        let functions =
            |words: &[&Word]| words.iter().filter(|word| word.is_function).count() as u32;
        let mut statistics = Self {
            words: [hypothesis.len() as u32, reference.len() as u32],
            function_words: [functions(hypothesis), functions(reference)],
            ..Self::default()
        };
        let mut open = None;
        let mut position = 0;
        while let Some(chosen) = alignment.get(position) {
            if let Some(m) = chosen {
                if open.is_some_and(|open| open != m.hypothesis) {
                    statistics.chunks += 1;
                }
                open = Some(m.hypothesis + u32::from(m.hypothesis_words));
                let on = |words: &[&Word], start: u32, length: u8| {
                    let start = start as usize;
                    functions(words.get(start..start + usize::from(length)).unwrap_or_default())
                };
                let sides = [
                    (on(hypothesis, m.hypothesis, m.hypothesis_words), m.hypothesis_words),
                    (on(reference, m.reference, m.reference_words), m.reference_words),
                ];
                for (side, (functions, length)) in sides.into_iter().enumerate() {
                    let length = u32::from(length);
                    statistics.function_matches[m.module as usize][side] += functions;
                    statistics.content_matches[m.module as usize][side] += length - functions;
                    statistics.matches[side] += length;
                }
                position += usize::from(m.reference_words.max(1));
            } else {
                statistics.chunks += u32::from(open.take().is_some());
                position += 1;
            }
        }
        statistics.chunks += u32::from(open.is_some());
        statistics
    }

    /// Returns the 23 counts in the order of METEOR's statistics line.
    #[must_use]
    pub fn counts(&self) -> Vec<u32> {
        let modules = self.content_matches.iter().zip(&self.function_matches);
        let modules = modules.flat_map(|(content, function)| [*content, *function]);
        let pairs = [self.words, self.function_words].into_iter().chain(modules);
        pairs.flatten().chain([self.chunks]).chain(self.matches).collect()
    }
}

impl Statistics<f64> {
    /// Sums the counts of a corpus, where an image whose words all match in one chunk has no chunk.
    #[must_use]
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Statistics>) -> Self {
        let mut sum = Self::default();
        all.into_iter().for_each(|image| sum += image);
        sum
    }
}

impl<N: Copy + From<u8> + Into<f64> + PartialEq> Statistics<N> {
    /// Returns whether all words match in one chunk.
    fn is_perfect(&self) -> bool {
        self.chunks == N::from(1) && self.matches == self.words
    }

    /// Returns the score, between 0 and 1.
    #[must_use]
    pub fn score(&self) -> f64 {
        let ratio = |side: usize| {
            let (all, functions) = (self.words[side].into(), self.function_words[side].into());
            let length = DELTA * (all - functions) + (1.0 - DELTA) * functions;
            let mut hits = 0.0;
            for (matches, weight) in self.content_matches.iter().zip(WEIGHTS) {
                hits += matches[side].into() * weight * DELTA;
            }
            for (matches, weight) in self.function_matches.iter().zip(WEIGHTS) {
                hits += matches[side].into() * weight * (1.0 - DELTA);
            }
            hits / length
        };
        let (precision, recall) = (ratio(HYPOTHESIS), ratio(REFERENCE));
        let mean = 1.0 / ((1.0 - ALPHA) / precision + ALPHA / recall);
        let fragmentation = if self.is_perfect() {
            0.0
        } else {
            let matched =
                f64::midpoint(self.matches[HYPOTHESIS].into(), self.matches[REFERENCE].into());
            self.chunks.into() / matched
        };
        let score = mean * (1.0 - GAMMA * fragmentation.powf(BETA));
        if score > 0.0 { score } else { 0.0 }
    }
}

impl AddAssign<&Statistics> for Statistics<f64> {
    /// Adds an image to a corpus; see [`sum`](Self::sum).
    fn add_assign(&mut self, image: &Statistics) {
        for side in [HYPOTHESIS, REFERENCE] {
            let add = |sum: &mut [f64; 2], counts: &[u32; 2]| sum[side] += f64::from(counts[side]);
            add(&mut self.words, &image.words);
            add(&mut self.function_words, &image.function_words);
            add(&mut self.matches, &image.matches);
            for module in 0..WEIGHTS.len() {
                add(&mut self.content_matches[module], &image.content_matches[module]);
                add(&mut self.function_matches[module], &image.function_matches[module]);
            }
        }
        self.chunks += if image.is_perfect() { 0.0 } else { f64::from(image.chunks) };
    }
}
