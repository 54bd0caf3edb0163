//! Checks that compare computations on the device with those on the CPU.

pub(crate) mod decoding;
mod files;
mod models;
pub(crate) mod networks;
pub(crate) mod training;

/// Returns the largest difference; NaN, which `f64::max` ignores, if one is NaN.
fn largest(differences: impl Iterator<Item = f64>) -> f64 {
    differences.fold(0.0, |most, one| if one.is_nan() || one > most { one } else { most })
}

/// Locks libtorch's global random generator: tests that draw from it take turns.
#[cfg(test)]
pub(crate) fn lock_generator() -> std::sync::MutexGuard<'static, ()> {
    static GENERATOR: std::sync::Mutex<()> = std::sync::Mutex::new(());
    GENERATOR.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
