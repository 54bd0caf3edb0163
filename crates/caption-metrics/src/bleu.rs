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

/// The counts behind BLEU, `u32` for an image and `f64` for a corpus: sums below 2^53 are exact.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Statistics<N = u32> {
    prediction_length: N,
    reference_length: N,
    guess: [N; ORDER],
    correct: [N; ORDER],
}

impl Statistics {
    /// Counts one image. `most[i]` is how often the reference that has the prediction's i-th n-gram
    /// (in the order of [`Counts::all`]) most often has it.
    pub(crate) fn new(
        prediction: &Counts,
        most: &[u32],
        prediction_length: usize,
        reference_lengths: impl Iterator<Item = usize>,
    ) -> Self {
        let closest = reference_lengths
            .min_by_key(|&length| (length.abs_diff(prediction_length), length))
            .unwrap_or_default();
        let correct = |n: usize| {
            let counts = prediction.of_length(n).iter().zip(&most[prediction.range(n)]);
            counts.map(|(count, &most)| count.count.min(most)).sum()
        };
        Self {
            prediction_length: prediction_length as u32,
            reference_length: closest as u32,
            guess: std::array::from_fn(|k| prediction_length.saturating_sub(k) as u32),
            correct: std::array::from_fn(|k| correct(k + 1)),
        }
    }
}

impl<N: Copy + Into<f64>> Statistics<N> {
    /// Returns BLEU-1, BLEU-2, BLEU-3, BLEU-4.
    pub(crate) fn scores(&self) -> [f64; ORDER] {
        let ratio = (self.prediction_length.into() + TINY) / (self.reference_length.into() + SMALL);
        let brevity = if ratio < 1.0 { Some((1.0 - 1.0 / ratio).exp()) } else { None };
        let mut product = 1.0;
        std::array::from_fn(|k| {
            product *= (self.correct[k].into() + TINY) / (self.guess[k].into() + SMALL);
            let score = f64::powf(product, 1.0 / (k as f64 + 1.0));
            brevity.map_or(score, |brevity| score * brevity)
        })
    }
}

impl AddAssign<&Statistics> for Statistics<f64> {
    fn add_assign(&mut self, image: &Statistics) {
        self.prediction_length += f64::from(image.prediction_length);
        self.reference_length += f64::from(image.reference_length);
        for k in 0..ORDER {
            self.guess[k] += f64::from(image.guess[k]);
            self.correct[k] += f64::from(image.correct[k]);
        }
    }
}
