//! What is computed on the device and held against the processor.

mod decoding;
mod files;
mod networks;
mod placed;
mod training;

use tch::Device;

use crate::examination::Examination;

/// Compares each network's results.
pub(crate) fn networks(examination: &mut Examination, device: Device) {
    networks::check(examination, device);
}

/// Compares short trainings, and resumes one.
pub(crate) fn training(examination: &mut Examination, device: Device) {
    training::check(examination, device);
}

/// Compares captions.
pub(crate) fn decoding(examination: &mut Examination, device: Device) {
    decoding::check(examination, device);
}
