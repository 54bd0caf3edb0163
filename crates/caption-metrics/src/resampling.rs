//! Resamples of the images, and bootstrap intervals from them.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::Serialize;

use crate::scores::{Scores, Statistics, corpus};

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
    pub(crate) fn generators(self) -> impl IndexedParallelIterator<Item = ChaCha8Rng> {
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

pub(crate) fn draw(generator: &mut impl Rng, images: usize) -> impl Iterator<Item = usize> {
    (0..images).map(move |_| generator.random_range(0..images))
}

/// Returns the values between which [`LEVEL`] of all values lie.
pub(crate) fn interval(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let index = share * values.len().saturating_sub(1) as f64;
        values.get(index.round() as usize).copied().unwrap_or(f64::NAN)
    };
    (at((1.0 - LEVEL) / 2.0), at(f64::midpoint(1.0, LEVEL)))
}
