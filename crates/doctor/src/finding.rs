//! Results of checks, as they are printed and written.

use networks::device::DeviceError;
use serde::Serialize;

use crate::{Measurement, Options};

/// Status of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All is well.
    Ok,
    /// Something is wrong.
    Failed,
    /// Not checked, or not there and not needed.
    Skipped,
}

impl Outcome {
    /// The word that people see.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAIL",
            Self::Skipped => "skipped",
        }
    }
}

/// Checks that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// The machine and what is installed.
    Environment,
    /// Networks on the device against the processor.
    Networks,
    /// Short trainings.
    Training,
    /// Captions, written by every strategy.
    Decoding,
    /// Speed.
    Bench,
}

impl Group {
    /// All of checks, in their order.
    pub const CHECKED: [Self; 4] =
        [Self::Environment, Self::Networks, Self::Training, Self::Decoding];

    /// The group's heading.
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

/// Status of a check, and the reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The outcome.
    pub outcome: Outcome,
    /// Observed values.
    pub detail: String,
    /// Advice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The largest difference, relative to the largest magnitude.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    /// The largest difference that is still right.
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

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Section of the report.
    pub group: Group,
    /// Name of the check.
    pub name: String,
    /// Result of the check.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Duration in seconds.
    pub seconds: f64,
}

/// All that was examined.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The device, as it was asked for.
    pub device: String,
    /// True if no check and no measurement failed.
    pub ok: bool,
    /// The checks, in their order.
    pub checks: Vec<Finding>,
    /// Speed, where it was asked for.
    pub measurements: Vec<Measurement>,
    /// Why there is no such device.
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

    /// Returns how many checks ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.checks.iter().filter(|check| check.verdict.outcome == outcome).count()
    }
}
