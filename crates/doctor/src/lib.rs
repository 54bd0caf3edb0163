//! Checks of `capsmith doctor`: the machine, every network on a device against the CPU, short
//! training runs, decoding, and with [`Options::bench`] the speed of all of them.
//!
//! Each check builds small models with random weights from a fixed seed, so nothing needs to be
//! downloaded. A panic fails the check.
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
mod observer;
mod page;

use networks::device::{self, DeviceError};
use networks::libtorch;

pub use bench::Measurement;
use examination::Examination;
pub use finding::{Finding, Group, Outcome, Report};
pub use observer::Observer;
pub use page::page;

/// Scope of an examination.
#[derive(Debug, Clone)]
pub struct Options {
    /// Device whose results are compared with the CPU's: `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// True to measure speed too.
    pub bench: bool,
}

/// Runs all checks: the environment, then networks, training and decoding on the device if it is
/// available, then measurements.
///
/// An invalid device name is reported as [`Report::device_error`] alone.
pub fn examine(options: &Options, observer: &mut dyn Observer) -> Report {
    // cuBLAS must be configured for determinism before other threads run.
    libtorch::use_deterministic_algorithms(true);
    libtorch::use_deterministic_algorithms(false);
    // CUDA's library must be loaded before libtorch is asked about CUDA.
    let device = device::parse_device(&options.device);
    if let Err(error @ DeviceError::Unknown(_)) = device {
        return Report::new(options, Vec::new(), Vec::new(), Some(error));
    }
    // The models are so small that more threads would only wait for each other.
    device::set_threads(1);
    let mut examination = Examination::new(observer);
    let gpu_names = environment::examine(&mut examination, options, device.as_ref().err());
    let mut measurements = Vec::new();
    if let Ok(device) = device {
        checks::networks::check(&mut examination, device);
        checks::training::check(&mut examination, device);
        checks::decoding::check(&mut examination, device);
        if options.bench {
            device::set_threads(device::cpu_threads(1));
            measurements = bench::measure(examination.observer(), device, &gpu_names);
        }
    }
    Report::new(options, examination.findings(), measurements, device.err())
}
