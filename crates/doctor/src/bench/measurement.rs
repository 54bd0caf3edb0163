//! Result of a benchmark.

use serde::Serialize;

/// Row of the table of speeds.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// Measured work.
    pub work: String,
    /// Arithmetic.
    pub arithmetic: &'static str,
    /// `ms a step`, `captions/s` or `pictures/s`.
    pub unit: &'static str,
    /// Median over the rounds; `None` if the measurement failed.
    pub value: Option<f64>,
    /// Model FLOPs utilisation: the step's operations divided by the GPU's peak rate. A step counts
    /// 6 operations per parameter and row that it multiplies; attention and elementwise operations
    /// are not counted.
    pub mfu: Option<f64>,
    /// Peak GPU memory of tensors in bytes.
    pub peak_bytes: Option<u64>,
    /// Result of a plain PyTorch loop, in the same unit.
    pub plain: Option<f64>,
    /// Reason for missing values.
    pub note: Option<String>,
}

impl Measurement {
    /// Returns the plain loop's time divided by capsmith's.
    #[must_use]
    pub fn speedup(&self) -> Option<f64> {
        let (value, plain) = (self.value?, self.plain?);
        Some(if self.unit == STEP { plain / value } else { value / plain })
    }
}

/// The unit in which less is better.
pub(super) const STEP: &str = "ms a step";
