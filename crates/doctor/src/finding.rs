//! Findings of checks, as printed and written to files.

use networks::device::DeviceError;
use serde::Serialize;

use crate::Options;
use crate::bench::Measurement;

/// Status of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The check passed.
    Ok,
    /// The check failed.
    Failed,
    /// Not checked, or an optional part is absent.
    Skipped,
}

impl Outcome {
    /// Returns the word shown to people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAIL",
            Self::Skipped => "skipped",
        }
    }
}

/// Group of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Machine and installed software.
    Environment,
    /// Networks on the device compared with the CPU.
    Networks,
    /// Short training runs.
    Training,
    /// Captions by every decoding strategy.
    Decoding,
    /// Speed.
    Bench,
}

impl Group {
    /// Groups of checks, in their order.
    pub const CHECKED: [Self; 4] =
        [Self::Environment, Self::Networks, Self::Training, Self::Decoding];

    /// Returns the group's heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Environment => "Environment",
            Self::Networks => "Networks, against the processor in f32",
            Self::Training => "Training",
            Self::Decoding => "Decoding",
            Self::Bench => "Speed",
        }
    }
}

/// Status of a check, with details.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Status.
    pub outcome: Outcome,
    /// Observed values.
    pub detail: String,
    /// Advice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Largest difference, relative to the largest magnitude.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    /// Largest allowed difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
}

impl Verdict {
    fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into(), hint: None, difference: None, tolerance: None }
    }

    pub(crate) fn ok(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Ok, detail)
    }

    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Failed, detail)
    }

    pub(crate) fn skipped(detail: impl Into<String>) -> Self {
        Self::new(Outcome::Skipped, detail)
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Finding of one check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Group of the check.
    pub group: Group,
    /// Name of the check.
    pub name: String,
    /// Result of the check.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Duration in seconds.
    pub seconds: f64,
}

/// Report of all checks.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Device as requested.
    pub device: String,
    /// True if no check and no measurement failed.
    pub ok: bool,
    /// Findings in the order of the checks.
    pub checks: Vec<Finding>,
    /// Measured speeds, if requested.
    pub measurements: Vec<Measurement>,
    /// Reason why the device is not available.
    #[serde(skip)]
    pub device_error: Option<DeviceError>,
}

impl Report {
    pub(crate) fn new(
        options: &Options,
        checks: Vec<Finding>,
        measurements: Vec<Measurement>,
        device_error: Option<DeviceError>,
    ) -> Self {
        let ok = checks.iter().all(|check| check.verdict.outcome != Outcome::Failed)
            && measurements.iter().all(|measurement| measurement.value.is_some());
        Self { device: options.device.clone(), ok, checks, measurements, device_error }
    }

    /// Returns the number of checks with this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|check| check.verdict.outcome == outcome).count()
    }
}
