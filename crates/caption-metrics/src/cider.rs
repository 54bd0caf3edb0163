//! CIDEr as pycocoevalcap computes it: CIDEr-D (Vedantam et al. 2015) with the document frequencies
//! of the references at hand.
//!
//! Each caption is, for n = 1..4, a vector `g_n` over n-grams w of
//!
//! ```text
//! g_n(w) = count(w) · (ln N - ln max(1, df(w)))
//! ```
//!
//! with N the number of images and df(w) the number of images whose references hold w. For a
//! prediction c and one reference r:
//!
//! ```text
//! sim_n = Σ_w min(c_n(w), r_n(w)) · r_n(w) / (‖c_n‖ ‖r_n‖) · exp(-(l_c - l_r)² / (2 · 6²))
//! CIDEr = 10 · mean over references of the mean over n of sim_n
//! ```
//!
//! l is the number of *bigrams* of a caption (so it is one less than its words). With a single
//! image every weight is ln 1 = 0 and so is the score. The corpus score is the mean over images.

use crate::ngrams::{Counts, DocumentFrequencies, ImageGrams, ORDER};
use crate::numerics;

const SIGMA: f64 = 6.0;

/// The weights ln N - ln max(1, df) of n-grams.
pub(crate) struct Weights {
    frequencies: DocumentFrequencies,
    log_images: f64,
}

impl Weights {
    /// Returns weights from the references of all images.
    pub(crate) fn new(frequencies: DocumentFrequencies, images: usize) -> Self {
        Self { frequencies, log_images: (images as f64).ln() }
    }

    /// Returns the weight of each of an image's n-grams.
    pub(crate) fn of(&self, image: &ImageGrams) -> Vec<f64> {
        let frequencies = self.frequencies.of(image);
        frequencies.map(|df| self.log_images - f64::from(df.max(1)).ln()).collect()
    }
}

/// A caption's weighted n-grams, in the order of its [`Counts`].
pub(crate) struct Vector {
    pub(crate) weights: Vec<f64>,
    pub(crate) norms: [f64; ORDER],
    length: f64,
}

impl Vector {
    pub(crate) fn new(weights: &[f64], counts: &Counts) -> Self {
        let weights: Vec<f64> = counts
            .all()
            .iter()
            .map(|count| f64::from(count.count) * weights[count.gram as usize])
            .collect();
        let norms = std::array::from_fn(|n| {
            weights[counts.range(n + 1)].iter().fold(0.0, |sum, w| sum + w * w).sqrt()
        });
        let bigrams = counts.of_length(2).iter().map(|count| u64::from(count.count)).sum::<u64>();
        Self { weights, norms, length: bigrams as f64 }
    }
}

/// Returns CIDEr of one image with these weights of its n-grams.
///
/// `shared[i]` lists, for reference i, pairs of positions in the prediction's and the reference's
/// counts that hold the same n-gram, in the prediction's order.
pub(crate) fn score(
    weights: &[f64],
    prediction: &Counts,
    references: &[Counts],
    shared: &[Vec<(u32, u32)>],
) -> f64 {
    let predicted = Vector::new(weights, prediction);
    let mut totals = [0.0; ORDER];
    for (counts, shared) in references.iter().zip(shared) {
        let reference = Vector::new(weights, counts);
        let delta = predicted.length - reference.length;
        let penalty = std::f64::consts::E.powf(-(delta * delta) / (2.0 * SIGMA * SIGMA));
        let mut dots = [0.0; ORDER];
        for &(p, r) in shared {
            let n = (1..ORDER).find(|&n| (p as usize) < prediction.range(n).end).unwrap_or(ORDER);
            let r = reference.weights[r as usize];
            dots[n - 1] += predicted.weights[p as usize].min(r) * r;
        }
        for n in 0..ORDER {
            let mut similarity = dots[n];
            if predicted.norms[n] != 0.0 && reference.norms[n] != 0.0 {
                similarity /= predicted.norms[n] * reference.norms[n];
            }
            totals[n] += similarity * penalty;
        }
    }
    numerics::mean(&totals) / references.len() as f64 * 10.0
}
