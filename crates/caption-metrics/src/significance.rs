//! Confidence of scores and significance of differences, by resampling images.
//!
//! Each resample gets corpus scores from the images' counts: BLEU and METEOR from sums, ROUGE-L and
//! CIDEr as means. CIDEr's document frequencies stay those of all references.
//! Resample k draws from stream k of a `ChaCha8` generator, so that results depend on the seed alone.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;

use crate::scorer::{Statistics, corpus};
use crate::{Error, Evaluation, Scores};

/// The share of the resamples that an interval holds.
pub(crate) const LEVEL: f64 = 0.95;

/// The number of resamples and the seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Resampling {
    /// The number of resamples; 1,000 is usual.
    pub resamples: usize,
    /// The generator's seed.
    pub seed: u64,
}

impl Default for Resampling {
    fn default() -> Self {
        Self { resamples: 1000, seed: 0 }
    }
}

impl Resampling {
    fn generators(self) -> impl IndexedParallelIterator<Item = ChaCha8Rng> {
        (0..self.resamples).into_par_iter().map(move |stream| {
            let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
            generator.set_stream(stream as u64);
            generator
        })
    }
}

/// A score with the interval that holds 95% of its resamples (2.5% lie on either side).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Its name, as in [`Scores`].
    #[serde(skip)]
    pub name: &'static str,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Returns bootstrap intervals (Efron 1979; Koehn 2004) of a corpus' scores, where images are drawn
/// with replacement.
pub(crate) fn bootstrap(
    scores: &Scores,
    statistics: &[Statistics],
    resampling: Resampling,
) -> Vec<Interval> {
    let resamples: Vec<Scores> = resampling
        .generators()
        .map(|mut generator| {
            let drawn = draw(&mut generator, statistics.len());
            corpus(&drawn.map(|image| &statistics[image]).collect::<Vec<_>>())
        })
        .collect();
    scores
        .iter()
        .map(|(name, _)| {
            let (low, high) = interval(resamples.iter().filter_map(|scores| scores.get(name)));
            Interval { name, low, high }
        })
        .collect()
}

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
    /// The lower end of the difference's 95% bootstrap interval; both systems on the same resamples.
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

fn draw(generator: &mut impl Rng, images: usize) -> impl Iterator<Item = usize> {
    (0..images).map(move |_| generator.random_range(0..images))
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

/// Returns the values between which [`LEVEL`] of all values lie.
fn interval(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let index = share * values.len().saturating_sub(1) as f64;
        values.get(index.round() as usize).copied().unwrap_or(f64::NAN)
    };
    (at((1.0 - LEVEL) / 2.0), at(f64::midpoint(1.0, LEVEL)))
}
