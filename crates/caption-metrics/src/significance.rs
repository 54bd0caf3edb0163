//! Confidence of scores and significance of differences, by resampling images.
//!
//! Each resample gets corpus scores from the images' counts: BLEU and METEOR from sums, ROUGE-L and
//! CIDEr as means. CIDEr's document frequencies stay those of all references. Resample k draws from
//! stream k of a `ChaCha8` generator, so that results depend on the seed alone.

use rand::RngExt;
use rayon::prelude::*;
use serde::Serialize;

use crate::resampling::{draw, interval};
use crate::scores::{Statistics, corpus};
use crate::{Error, Evaluation, Scores};

pub use crate::resampling::{Interval, Resampling};

/// One row of a [comparison](compare).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The score's name, as in [`Scores`].
    #[serde(rename = "metric")]
    pub name: &'static str,
    /// The first system's score.
    pub a: f64,
    /// The second system's score.
    pub b: f64,
    /// `b - a`.
    pub difference: f64,
    /// The lower end of the difference's 95% bootstrap interval; both systems on the same
    /// resamples.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The probability of so large a difference, in either direction, if the two systems were the
    /// same: approximate randomisation (Noreen 1989), in which every image's two predictions
    /// are exchanged with probability one half. It is (1 + as large) / (1 + resamples).
    pub p: f64,
}

/// Compares two systems' evaluations against the same references.
///
/// # Errors
/// [`Error::NotComparable`] unless both are of the same images, metrics and tokenizer.
pub fn compare(
    a: &Evaluation,
    b: &Evaluation,
    resampling: Resampling,
) -> Result<Vec<Difference>, Error> {
    let (of_a, of_b) = (&a.summary, &b.summary);
    let same_names =
        of_a.corpus.iter().map(|(name, _)| name).eq(of_b.corpus.iter().map(|(name, _)| name));
    if a.ids != b.ids || !same_names || of_a.protocol.tokenizer != of_b.protocol.tokenizer {
        return Err(Error::NotComparable);
    }
    let (first, second) = (&a.statistics, &b.statistics);
    let differences: Vec<(Scores, Scores)> = resampling
        .generators()
        .map(|mut generator| {
            let drawn = draw(&mut generator, of_a.n);
            let bootstrap = difference(drawn.map(|image| (&first[image], &second[image])));
            let exchanged = difference(first.iter().zip(second).map(|(first, second)| {
                if generator.random_bool(0.5) { (second, first) } else { (first, second) }
            }));
            (bootstrap, exchanged)
        })
        .collect();
    Ok(of_a
        .corpus
        .iter()
        .zip(of_b.corpus.iter())
        .map(|((name, a), (_, b))| {
            let (low, high) =
                interval(differences.iter().filter_map(|(scores, _)| scores.get(name)));
            let as_large = differences
                .iter()
                .filter_map(|(_, scores)| scores.get(name))
                .filter(|difference| difference.abs() >= (b - a).abs())
                .count();
            let p = (1 + as_large) as f64 / (1 + resampling.resamples) as f64;
            Difference { name, a, b, difference: b - a, low, high, p }
        })
        .collect())
}

/// Returns the second corpus' scores less the first's.
fn difference<'a>(pairs: impl Iterator<Item = (&'a Statistics, &'a Statistics)>) -> Scores {
    let (first, second): (Vec<&Statistics>, Vec<&Statistics>) = pairs.unzip();
    let mut differences = Scores::default();
    for ((name, a), (_, b)) in corpus(&first).iter().zip(corpus(&second).iter()) {
        differences.push(name, b - a);
    }
    differences
}
