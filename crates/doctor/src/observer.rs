//! Progress of an examination.

use crate::bench::Measurement;
use crate::finding::{Finding, Group};

/// Receives progress events.
pub trait Observer {
    /// A check or measurement has started.
    fn started(&mut self, _group: Group, _name: &str) {}

    /// A check has finished.
    fn finished(&mut self, _finding: &Finding) {}

    /// A measurement has finished.
    fn measured(&mut self, _measurement: &Measurement) {}
}
