//! The counts that METEOR scores, of one image or of many.

use std::ops::AddAssign;

use super::aligner::Match;
use super::lexicon::Word;

const ALPHA: f64 = 0.85;
const BETA: f64 = 0.20;
const GAMMA: f64 = 0.60;
const DELTA: f64 = 0.75;
/// Of exact, stem, synonym and paraphrase matches.
const WEIGHTS: [f64; 4] = [1.0, 0.6, 0.8, 0.6];

const HYPOTHESIS: usize = 0;
const REFERENCE: usize = 1;

/// METEOR's 23 counts. Pairs are of the hypothesis and of the reference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Words.
    pub words: [u64; 2],
    /// Function words.
    pub function_words: [u64; 2],
    /// Matched content words, by module (exact, stem, synonym, paraphrase).
    pub content_matches: [[u64; 2]; 4],
    /// Matched function words, by module.
    pub function_matches: [[u64; 2]; 4],
    /// Runs of matches that are in the same order on both sides.
    pub chunks: u64,
    /// Matched words.
    pub matches: [u64; 2],
}

impl Statistics {
    /// Of an alignment.
    pub(super) fn of(
        hypothesis: &[&Word],
        reference: &[&Word],
        alignment: &[Option<Match>],
    ) -> Self {
        let functions =
            |words: &[&Word]| words.iter().filter(|word| word.is_function).count() as u64;
        let mut statistics = Self {
            words: [hypothesis.len() as u64, reference.len() as u64],
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
                    let length = u64::from(length);
                    statistics.function_matches[m.module as usize][side] += functions;
                    statistics.content_matches[m.module as usize][side] += length - functions;
                    statistics.matches[side] += length;
                }
                position += usize::from(m.reference_words.max(1));
            } else {
                statistics.chunks += u64::from(open.take().is_some());
                position += 1;
            }
        }
        statistics.chunks += u64::from(open.is_some());
        statistics
    }

    /// Whether all words match in one chunk.
    fn is_perfect(&self) -> bool {
        self.chunks == 1 && self.matches == self.words
    }

    /// The score; between 0 and 1.
    #[must_use]
    pub fn score(&self) -> f64 {
        let ratio = |side: usize| {
            let (all, functions) = (self.words[side] as f64, self.function_words[side] as f64);
            let length = DELTA * (all - functions) + (1.0 - DELTA) * functions;
            let mut hits = 0.0;
            for (matches, weight) in self.content_matches.iter().zip(WEIGHTS) {
                hits += matches[side] as f64 * weight * DELTA;
            }
            for (matches, weight) in self.function_matches.iter().zip(WEIGHTS) {
                hits += matches[side] as f64 * weight * (1.0 - DELTA);
            }
            hits / length
        };
        let (precision, recall) = (ratio(HYPOTHESIS), ratio(REFERENCE));
        let mean = 1.0 / ((1.0 - ALPHA) / precision + ALPHA / recall);
        let fragmentation = if self.is_perfect() {
            0.0
        } else {
            let matched = (self.matches[HYPOTHESIS] + self.matches[REFERENCE]) as f64 / 2.0;
            self.chunks as f64 / matched
        };
        let score = mean * (1.0 - GAMMA * fragmentation.powf(BETA));
        if score > 0.0 { score } else { 0.0 }
    }

    /// The counts of a corpus: sums, where an image whose words all match in one chunk has no chunk.
    #[must_use]
    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        all.into_iter().for_each(|statistics| sum += statistics);
        sum
    }

    /// The 23 counts in the order of METEOR's statistics line.
    #[must_use]
    pub fn counts(&self) -> [u64; 23] {
        let mut counts = [0; 23];
        let modules = self
            .content_matches
            .iter()
            .zip(&self.function_matches)
            .flat_map(|(content, function)| content.iter().chain(function));
        let all = self
            .words
            .iter()
            .chain(&self.function_words)
            .chain(modules)
            .chain([&self.chunks])
            .chain(&self.matches);
        for (slot, count) in counts.iter_mut().zip(all) {
            *slot = *count;
        }
        counts
    }
}

impl AddAssign<&Statistics> for Statistics {
    /// Adds an image to a corpus; see [`sum`](Self::sum).
    fn add_assign(&mut self, image: &Self) {
        let add = |a: &mut [u64; 2], b: &[u64; 2]| {
            a[HYPOTHESIS] += b[HYPOTHESIS];
            a[REFERENCE] += b[REFERENCE];
        };
        add(&mut self.words, &image.words);
        add(&mut self.function_words, &image.function_words);
        add(&mut self.matches, &image.matches);
        for module in 0..WEIGHTS.len() {
            add(&mut self.content_matches[module], &image.content_matches[module]);
            add(&mut self.function_matches[module], &image.function_matches[module]);
        }
        self.chunks += if image.is_perfect() { 0 } else { image.chunks };
    }
}
