//! The checks of `capsmith doctor`: the machine, every network on a device against the processor,
//! short trainings, decoding, and with [`Options::bench`] the speed of all of them.
//!
//! Models are small, have random weights, and are made for each check from a fixed seed; nothing is
//! read but what belongs to the machine. A check that panics is a check that failed.
//!
//! ```no_run
//! struct Silent;
//! impl doctor::Observer for Silent {}
//!
//! let options = doctor::Options { device: "cuda:0".to_owned(), bench: false };
//! let report = doctor::examine(&options, &mut Silent);
//! assert!(report.ok, "{}", doctor::page(&report));
//! ```

mod bench;
mod checks;
mod compare;
mod environment;
mod error;
mod examination;
mod finding;
mod page;

use networks::device::{self, DeviceError};
use networks::libtorch;

pub use bench::Measurement;
use examination::Examination;
pub use finding::{Finding, Group, Outcome, Report};
pub use page::page;

/// Scope of an examination.
#[derive(Debug, Clone)]
pub struct Options {
    /// Device whose results are compared with the processor's: `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Also measures speed.
    pub bench: bool,
}

/// Receives what is examined and found, to show it.
pub trait Observer {
    /// A check or measurement begins.
    fn begins(&mut self, _group: Group, _name: &str) {}

    /// A check has ended.
    fn found(&mut self, _finding: &Finding) {}

    /// A measurement has ended.
    fn measured(&mut self, _measurement: &Measurement) {}
}

/// Examines the environment, then, where the device can be had, the networks, training and decoding
/// on it, then measures. A device that no machine could have is an error of the report and nothing
/// else.
pub fn examine(options: &Options, observer: &mut dyn Observer) -> Report {
    // Deterministic algorithms are checked later, but say so to cuBLAS before other threads work.
    libtorch::use_deterministic_algorithms(true);
    libtorch::use_deterministic_algorithms(false);
    // CUDA's library must be loaded before libtorch is asked anything about CUDA.
    let device = device::parse_device(&options.device);
    if let Err(error @ DeviceError::Unknown(_)) = device {
        return Report::new(options, Vec::new(), Vec::new(), Some(error));
    }
    // Models are so small that threads would only wait for each other.
    device::set_threads(1);
    let mut examination = Examination::new(observer);
    let gpu_names = environment::examine(&mut examination, options, device.as_ref().err());
    let mut measurements = Vec::new();
    if let Ok(device) = device {
        checks::networks(&mut examination, device);
        checks::training(&mut examination, device);
        checks::decoding(&mut examination, device);
        if options.bench {
            device::set_threads(device::cpu_threads(1));
            measurements = bench::measure(examination.observer(), device, &gpu_names);
        }
    }
    Report::new(options, examination.findings(), measurements, device.err())
}
