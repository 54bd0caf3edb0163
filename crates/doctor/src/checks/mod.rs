//! Checks that compare computations on the device with those on the CPU.

mod decoding;
mod files;
mod models;
mod networks;
mod training;

use tch::Device;

use crate::examination::Examination;

/// Compares the results of each network.
pub(crate) fn networks(examination: &mut Examination, device: Device) {
    networks::check(examination, device);
}

/// Compares short training runs, and checks resuming one.
pub(crate) fn training(examination: &mut Examination, device: Device) {
    training::check(examination, device);
}

/// Compares generated captions.
pub(crate) fn decoding(examination: &mut Examination, device: Device) {
    decoding::check(examination, device);
}

/// Locks libtorch's global random generator: tests that draw from it take turns.
#[cfg(test)]
pub(crate) fn lock_generator() -> std::sync::MutexGuard<'static, ()> {
    static GENERATOR: std::sync::Mutex<()> = std::sync::Mutex::new(());
    GENERATOR.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
