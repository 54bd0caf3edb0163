//! Successive halving: at each rung only the best trials are trained further.
//!
//! After Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
//! optimization" (2016). A surviving trial resumes its run; the learning rate schedule is that of
//! all epochs from the first step on.

use serde::{Deserialize, Serialize};

/// Direction in which a metric improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Higher is better.
    Maximize,
    /// Lower is better.
    Minimize,
}

impl Direction {
    /// Returns the direction in words.
    pub(super) fn better(self) -> &'static str {
        match self {
            Self::Maximize => "higher is better",
            Self::Minimize => "lower is better",
        }
    }

    /// Compares two values, the better one first.
    #[must_use]
    pub fn order(self, a: f64, b: f64) -> std::cmp::Ordering {
        match self {
            Self::Maximize => b.total_cmp(&a),
            Self::Minimize => a.total_cmp(&b),
        }
    }
}

/// Returns the epochs of the rungs: `min_epochs`, `eta` times as many, and so on, and last
/// `epochs`.
#[must_use]
pub fn rungs(min_epochs: u64, eta: u64, epochs: u64) -> Vec<u64> {
    let mut rungs = Vec::new();
    let mut rung = min_epochs;
    while rung < epochs {
        rungs.push(rung);
        rung = rung.saturating_mul(eta);
    }
    rungs.push(epochs);
    rungs
}

/// Returns the number of survivors of `trials` trials.
#[must_use]
pub fn survivor_count(trials: usize, eta: u64) -> usize {
    trials.div_ceil(usize::try_from(eta).unwrap_or(usize::MAX))
}

/// Returns the numbers of the surviving trials: those with the best values, of equal ones the
/// first.
///
/// Failed trials have no value but count towards the number of trials.
#[must_use]
pub fn survivors(trials: &[(usize, Option<f64>)], eta: u64, direction: Direction) -> Vec<usize> {
    let measured = trials.iter().filter_map(|&(number, value)| Some((number, value?)));
    let mut measured: Vec<(usize, f64)> = measured.collect();
    measured.sort_by(|a, b| direction.order(a.1, b.1).then(a.0.cmp(&b.0)));
    measured.truncate(survivor_count(trials.len(), eta));
    let mut numbers: Vec<usize> = measured.into_iter().map(|(number, _)| number).collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rungs_multiply_up_to_all_epochs() {
        assert_eq!(rungs(1, 3, 9), [1, 3, 9]);
        assert_eq!(rungs(1, 2, 5), [1, 2, 4, 5]);
        assert_eq!(rungs(4, 2, 4), [4]);
    }

    #[test]
    fn failed_trials_never_survive_and_ties_go_to_the_first() {
        let trials = [(0, Some(1.0)), (1, None), (2, Some(3.0)), (3, Some(1.0)), (4, Some(1.0))];
        assert_eq!(survivors(&trials, 2, Direction::Maximize), [0, 2, 3]);
        assert_eq!(survivors(&trials, 3, Direction::Minimize), [0, 3]);
        assert_eq!(survivors(&[(0, None), (1, None)], 2, Direction::Minimize), [0; 0]);
    }

    proptest! {
        #[test]
        fn the_best_trials_survive(
            values in prop::collection::vec(-100_i32..100, 1..60), eta in 2_u64..6,
        ) {
            let trials: Vec<(usize, Option<f64>)> =
                values.iter().map(|&value| Some(f64::from(value))).enumerate().collect();
            for (direction, sign) in [(Direction::Maximize, 1), (Direction::Minimize, -1)] {
                let on = survivors(&trials, eta, direction);
                let eta = usize::try_from(eta).unwrap();
                // ceil(n / eta) survive, and no dropped trial is better than a survivor.
                prop_assert_eq!(on.len(), values.len() / eta + usize::from(values.len() % eta > 0));
                let worst = on.iter().map(|&number| sign * values[number]).min();
                let left = (0..values.len()).filter(|number| !on.contains(number));
                prop_assert!(left.map(|number| sign * values[number]).max() <= worst || on.len() == values.len());
            }
        }
    }
}
