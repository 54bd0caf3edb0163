//! Rated pairs of a judge suite.

use super::published::Published;
use crate::correlate::{Columns, Kendall, Pair};

/// Pairs with the points of a correlation.
pub(super) struct Rated {
    /// The choice of pairs and references, for people.
    pub(super) choice: &'static str,
    pub(super) published: &'static Published,
    pub(super) pairs: Vec<Pair>,
    /// The number of a pair and a rating of it.
    points: Vec<(usize, f64)>,
    /// Pairs that the choice leaves out.
    pub(super) left_out: usize,
}

impl Rated {
    pub(super) fn new(choice: &'static str, published: &'static Published) -> Self {
        Self { choice, published, pairs: Vec::new(), points: Vec::new(), left_out: 0 }
    }

    pub(super) fn push(&mut self, pair: Pair, ratings: &[f64]) {
        self.points.extend(ratings.iter().map(|&rating| (self.pairs.len(), rating)));
        self.pairs.push(pair);
    }

    /// Returns the number of ratings.
    pub(super) fn ratings(&self) -> usize {
        self.points.len()
    }

    /// Returns the rank correlation of every score with the ratings.
    pub(super) fn correlations(
        &self,
        columns: &Columns,
        tau: fn(&Kendall) -> f64,
    ) -> Vec<(&'static str, Vec<f64>)> {
        let correlation = |scores: &[f64]| {
            tau(&Kendall::new(self.points.iter().map(|&(pair, rating)| (scores[pair], rating))))
        };
        columns.iter().map(|(name, scores)| (*name, vec![correlation(scores)])).collect()
    }
}
