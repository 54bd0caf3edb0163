//! BLEU-1 to BLEU-4 (Papineni et al. 2002) with pycocoevalcap's choices.
//!
//! For n = 1..4, with `correct_k` the n-grams of length k that the prediction shares with its
//! references (each counted at most as often as in the reference that has it most often) and
//! `guess_k` the number of n-grams in the prediction:
//!
//! ```text
//! BLEU-n = (Π_{k ≤ n} (correct_k + 1e-15) / (guess_k + 1e-9))^(1/n) · brevity
//! brevity = exp(1 - 1/ratio) if ratio < 1, else 1;  ratio = (c + 1e-15) / (r + 1e-9)
//! ```
//!
//! c is the prediction's length, r the length of the reference closest to it (of two equally close
//! ones the shorter). For the corpus all of these are summed over images first.

use std::ops::AddAssign;

use crate::ngrams::{Counts, ORDER};

const TINY: f64 = 1e-15;
const SMALL: f64 = 1e-9;

/// What BLEU needs to know of an image; sums over images give the corpus.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Statistics {
    prediction_length: u64,
    reference_length: u64,
    guess: [u64; ORDER],
    correct: [u64; ORDER],
}

impl Statistics {
    /// Of one image. `most[i]` is how often the reference that has the prediction's i-th n-gram
    /// (in the order of [`Counts::all`]) most often has it.
    pub(crate) fn new(
        prediction: &Counts,
        most: &[u32],
        prediction_length: usize,
        reference_lengths: impl Iterator<Item = usize>,
    ) -> Self {
        let mut statistics = Self {
            prediction_length: prediction_length as u64,
            reference_length: reference_lengths
                .min_by_key(|&length| (length.abs_diff(prediction_length), length))
                .unwrap_or_default() as u64,
            ..Self::default()
        };
        for k in 0..ORDER {
            statistics.guess[k] = prediction_length.saturating_sub(k) as u64;
            statistics.correct[k] = prediction
                .range(k + 1)
                .zip(prediction.of_length(k + 1))
                .map(|(at, count)| u64::from(count.count.min(most[at])))
                .sum();
        }
        statistics
    }

    /// BLEU-1, BLEU-2, BLEU-3, BLEU-4.
    pub(crate) fn scores(&self) -> [f64; ORDER] {
        let ratio = (self.prediction_length as f64 + TINY) / (self.reference_length as f64 + SMALL);
        let brevity = if ratio < 1.0 { Some((1.0 - 1.0 / ratio).exp()) } else { None };
        let mut product = 1.0;
        std::array::from_fn(|k| {
            product *= (self.correct[k] as f64 + TINY) / (self.guess[k] as f64 + SMALL);
            let score = f64::powf(product, 1.0 / (k as f64 + 1.0));
            brevity.map_or(score, |brevity| score * brevity)
        })
    }
}

impl AddAssign<&Statistics> for Statistics {
    fn add_assign(&mut self, other: &Self) {
        self.prediction_length += other.prediction_length;
        self.reference_length += other.reference_length;
        for k in 0..ORDER {
            self.guess[k] += other.guess[k];
            self.correct[k] += other.correct[k];
        }
    }
}
