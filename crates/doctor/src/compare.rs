//! Comparison of results up to rounding.

use networks::{Pass, Precision};
use tch::{Device, Kind, Tensor, no_grad};

use crate::finding::{Outcome, Verdict};

/// Arithmetic of matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    F32,
    /// f32 storage, rounded to ten bits of mantissa in matrix products.
    Tf32,
    Bf16,
    F16,
}

impl Arithmetic {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Tf32 => "TF32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        }
    }

    /// Returns the type of the weights, for networks of a single type.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::F32 | Self::Tf32 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
            Self::F16 => Kind::Half,
        }
    }

    /// A pass without dropout, for networks that keep their weights in f32.
    pub(crate) fn pass<'t, 'm>(self) -> Pass<'t, 'm> {
        let precision = if self == Self::Bf16 { Precision::Bf16 } else { Precision::Full };
        Pass { dropout: false, precision, checkpointing: None }
    }

    /// Returns the largest difference from the CPU's f32 result, relative to the largest magnitude,
    /// that rounding explains.
    ///
    /// Rounding to p bits of mantissa changes a factor by up to u = 2^-(p + 1): 6e-8 in f32, 5e-4
    /// in TF32 and f16 (p = 10), 4e-3 in bf16 (p = 7). Sums of hundreds of terms in another order,
    /// and the few layers of these models, multiply that several times: 3e-7 is observed in f32,
    /// where only the order differs, and 1e-2 in bf16. The bounds are far above that, and far below
    /// the effect of a wrong kernel, mask or weight (0.1 and more). The bound of f32 is below the
    /// error of TF32, so accidental use of TF32 is detected.
    pub(crate) fn tolerance(self) -> f64 {
        match self {
            Self::F32 => 2e-5,
            Self::Tf32 | Self::F16 => 1e-2,
            Self::Bf16 => 6e-2,
        }
    }
}

/// Compares a device's result with the CPU's.
pub(crate) fn compare(found: &Tensor, expected: &Tensor, tolerance: f64) -> Verdict {
    if found.size() != expected.size() {
        let (found, expected) = (found.size(), expected.size());
        return Verdict::failed(format!("has shape {found:?}, on the processor {expected:?}"));
    }
    let here = |tensor: &Tensor| tensor.detach().to_device(Device::Cpu).to_kind(Kind::Double);
    let (found, expected) = (here(found), here(expected));
    let largest = no_grad(|| expected.abs().max()).double_value(&[]);
    if !(largest > 0.0 && largest.is_finite()) {
        return Verdict::failed(format!(
            "the processor's largest magnitude is {largest}: nothing to compare with"
        ));
    }
    let difference = no_grad(|| (found - expected).abs().max()).double_value(&[]) / largest;
    judge(difference, tolerance)
}

/// Compares several results, each relative to its own largest magnitude; returns the worst verdict.
pub(crate) fn compare_all(found: &[Tensor], expected: &[Tensor], tolerance: f64) -> Verdict {
    if found.len() != expected.len() {
        let (found, expected) = (found.len(), expected.len());
        return Verdict::failed(format!("gave {found} results, on the processor {expected}"));
    }
    let mut worst: Option<Verdict> = None;
    for (found, expected) in found.iter().zip(expected) {
        let verdict = compare(found, expected, tolerance);
        if verdict.outcome == Outcome::Failed {
            return verdict;
        }
        if worst.as_ref().is_none_or(|worst| verdict.difference > worst.difference) {
            worst = Some(verdict);
        }
    }
    worst.unwrap_or_else(|| Verdict::failed("nothing was compared"))
}

/// Judges a relative difference; NaN fails.
pub(crate) fn judge(difference: f64, tolerance: f64) -> Verdict {
    let outcome = if difference <= tolerance { Outcome::Ok } else { Outcome::Failed };
    let off = if difference == 0.0 { "equal".to_owned() } else { format!("{difference:.1e} off") };
    Verdict {
        outcome,
        detail: format!("{off}, {tolerance:.0e} allowed"),
        hint: None,
        difference: Some(difference),
        tolerance: Some(tolerance),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares 10, 0 and -40 with the same values, one of which is changed by `by`.
    fn moved(place: usize, by: f64) -> Outcome {
        let expected = [10.0, 0.0, -40.0_f64];
        let mut found = expected;
        found[place] += by;
        compare(&Tensor::from_slice(&found), &Tensor::from_slice(&expected), 1e-2).outcome
    }

    #[test]
    fn a_difference_beyond_the_tolerance_of_the_largest_magnitude_fails_wherever_it_is() {
        for place in 0..3 {
            for sign in [1.0, -1.0] {
                assert_eq!(moved(place, sign * 0.399), Outcome::Ok, "{place}");
                assert_eq!(moved(place, sign * 0.401), Outcome::Failed, "{place}");
            }
            for by in [f64::NAN, f64::INFINITY] {
                assert_eq!(moved(place, by), Outcome::Failed, "{place}");
            }
        }
    }

    #[test]
    fn the_worst_of_several_results_counts_by_its_own_magnitude() {
        let tensor = |value: f64| Tensor::from_slice(&[value]);
        let expected = [tensor(1000.0), tensor(0.001)];
        let by = |found: &[Tensor]| compare_all(found, &expected, 1e-2);
        let both = by(&[tensor(1001.0), tensor(0.001_005)]);
        assert_eq!(both.outcome, Outcome::Ok);
        assert!(both.difference.is_some_and(|off| (off - 5e-3).abs() < 1e-9), "{both:?}");
        // Negligible relative to the first tensor, but large relative to its own.
        assert_eq!(by(&[tensor(1000.0), tensor(0.0011)]).outcome, Outcome::Failed);
        assert_eq!(by(&[tensor(1000.0)]).outcome, Outcome::Failed);
        assert_eq!(compare_all(&[], &[], 1e-2).outcome, Outcome::Failed);
    }

    #[test]
    fn results_that_show_nothing_fail() {
        let ones = Tensor::ones([3], (Kind::Float, Device::Cpu));
        assert_eq!(compare(&ones, &ones, 1e-5).outcome, Outcome::Ok);
        assert_eq!(compare(&ones.view([3, 1]), &ones, 1e-5).outcome, Outcome::Failed);
        let zeros = ones.zeros_like();
        assert_eq!(compare(&zeros, &zeros, 1e-5).outcome, Outcome::Failed);
        let not_numbers = &ones * f64::NAN;
        assert_eq!(compare(&not_numbers, &not_numbers, 1e-5).outcome, Outcome::Failed);
        let half = (&ones * 1.001).to_kind(Kind::Half);
        assert_eq!(compare(&half, &ones, 1e-2).outcome, Outcome::Ok);
        assert_eq!(compare(&half, &ones, 2e-5).outcome, Outcome::Failed);
    }

    #[test]
    fn the_tolerances_distinguish_the_arithmetics() {
        // TF32 and f16 instead of f32, and bf16 instead of those.
        let values = Tensor::linspace(1.0, 2.0, 1001, (Kind::Float, Device::Cpu));
        let rounded = |kind| compare(&values.to_kind(kind), &values, Arithmetic::F32.tolerance());
        assert_eq!(rounded(Kind::Half).outcome, Outcome::Failed);
        assert_eq!(rounded(Kind::BFloat16).outcome, Outcome::Failed);
        assert_eq!(rounded(Kind::Double).outcome, Outcome::Ok);
    }
}
