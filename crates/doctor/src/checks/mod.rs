//! Computations on the device that are compared with the processor's.

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

/// libtorch's generator is the whole process's: tests that draw from it take turns.
#[cfg(test)]
pub(crate) fn alone_with_the_generator() -> std::sync::MutexGuard<'static, ()> {
    static GENERATOR: std::sync::Mutex<()> = std::sync::Mutex::new(());
    GENERATOR.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
