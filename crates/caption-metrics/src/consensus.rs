//! Consensus captions (Devlin et al. 2015, "Exploring nearest neighbor approaches for image
//! captioning", arXiv 1505.04467): of the captions of several images, the one most like the others.
//!
//! The similarity of two captions is CIDEr without clipping and length penalty (Vedantam et al.
//! 2015, equation 2): with `g_n(c)` the vector of weighted n-grams that CIDEr compares,
//!
//! ```text
//! s(c, d) = 1/4 Σ_n g_n(c) · g_n(d) / (‖g_n(c)‖ ‖g_n(d)‖),   n = 1..4
//! ```
//!
//! The sum of a caption's similarities to all others is one product with the sum of their unit
//! vectors, so that the time grows with the number of captions, not with its square.

use crate::cider::{Vector, Weights};
use crate::interner::Interner;
use crate::ngrams::{Counts, DocumentFrequencies, ImageGrams, ORDER};
use crate::words::Caption;

/// Captions of images, among which consensus captions are chosen.
pub struct Consensus {
    captions: Vec<Vec<Caption>>,
    weights: Weights,
}

impl Consensus {
    /// Counts the n-grams of the captions of each image, for their document frequencies.
    pub fn new<I, S>(images: impl IntoIterator<Item = I>) -> Self
    where
        I: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let (mut vocabulary, mut frequencies) =
            (Interner::default(), DocumentFrequencies::default());
        let mut image = |captions: I| {
            let captions = captions.into_iter();
            let captions: Vec<Caption> =
                captions.map(|text| Caption::new(text.as_ref(), &mut vocabulary)).collect();
            let mut grams = ImageGrams::default();
            for caption in &captions {
                grams.count(caption);
            }
            frequencies.add(&grams);
            captions
        };
        let captions: Vec<Vec<Caption>> = images.into_iter().map(&mut image).collect();
        let images = captions.len();
        Self { captions, weights: Weights::new(frequencies, images) }
    }

    /// Returns image and number of the caption with the highest mean similarity to the other
    /// captions of `images`; of equal ones the first. `None` if they have no caption.
    ///
    /// # Panics
    /// Panics if an image is out of range.
    #[must_use]
    pub fn choose(&self, images: &[usize]) -> Option<(usize, usize)> {
        let mut grams = ImageGrams::default();
        let (mut candidates, mut counted) = (Vec::new(), Vec::new());
        for &image in images {
            for (number, caption) in self.captions[image].iter().enumerate() {
                candidates.push((image, number));
                counted.push(grams.count(caption));
            }
        }
        let weights = self.weights.of(&grams);
        let units: Vec<Vec<f64>> = counted.iter().map(|counts| unit(&weights, counts)).collect();
        let mut sum = vec![0.0; weights.len()];
        for (counts, unit) in counted.iter().zip(&units) {
            for (count, value) in counts.all().iter().zip(unit) {
                sum[count.gram as usize] += value;
            }
        }
        let mut best: Option<(f64, (usize, usize))> = None;
        for ((counts, unit), candidate) in counted.iter().zip(&units).zip(candidates) {
            let values = counts.all().iter().zip(unit);
            let similarity: f64 =
                values.map(|(count, value)| value * (sum[count.gram as usize] - value)).sum();
            if best.is_none_or(|(highest, _)| similarity > highest) {
                best = Some((similarity, candidate));
            }
        }
        best.map(|(_, candidate)| candidate)
    }
}

/// Returns the weights of a caption's n-grams, scaled to L2 norm 1 for each n separately.
fn unit(weights: &[f64], counts: &Counts) -> Vec<f64> {
    let Vector { mut weights, norms, .. } = Vector::new(weights, counts);
    for (n, norm) in (1..=ORDER).zip(norms) {
        if norm > 0.0 {
            weights[counts.range(n)].iter_mut().for_each(|weight| *weight /= norm);
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caption_that_shares_most_with_the_others_is_chosen() {
        let captions = [
            vec!["a dog runs on the grass", "a brown dog runs on the grass"],
            vec!["two boys play", "a dog runs in the snow"],
            vec!["", "an old man sits"],
        ];
        let consensus = Consensus::new(&captions);
        assert_eq!(consensus.choose(&[0, 1, 2]), Some((0, 0)));
        assert_eq!(consensus.choose(&[1, 0]), Some((0, 0)));
        assert_eq!(consensus.choose(&[2]), Some((2, 0)), "of equal ones the first");
        assert_eq!(consensus.choose(&[]), None);
    }
}
