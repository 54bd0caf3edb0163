//! Bindings to libtorch functions that tch lacks, through `bindings.cpp`.

mod layers;
mod lists;
mod pinned;

use std::ffi::{CStr, c_char};
use std::fmt::Display;
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

pub(crate) use self::layers::{addmm_gelu, index_rows, pack_linear, packed_linear};
pub use self::lists::{
    AdamWNumbers, AdamWTensors, any_non_finite, foreach_add, foreach_copy, foreach_norm,
    fused_adamw,
};
pub(crate) use self::pinned::{Event, empty_pinned, values};
use crate::memory::OutOfMemory;

unsafe extern "C" {
    fn capsmith_allow_tf32(allowed: bool) -> bool;
    fn capsmith_allow_cudnn_attention(allowed: bool) -> bool;
    fn capsmith_deterministic(only: bool);
    fn capsmith_configuration(out: *mut *mut c_char) -> *mut c_char;
    fn capsmith_peak_memory(gpu: i8, out: *mut i64) -> *mut c_char;
    fn capsmith_reset_peak_memory(gpu: i8) -> *mut c_char;
}

/// Converts and frees an error text.
fn check(error: *mut c_char) -> Result<(), TchError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: C++ allocated the text with strdup and gave up ownership.
    Err(TchError::Torch(unsafe { take_string(error) }))
}

/// Returns the tensor that `call` writes to its argument.
///
/// # Safety
/// `call` must write a tensor that nobody else owns, unless it returns an error.
unsafe fn returned(
    call: impl FnOnce(*mut *mut C_tensor) -> *mut c_char,
) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    check(call(&raw mut out))?;
    // SAFETY: guaranteed by the caller.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// Copies and frees a C string.
///
/// # Safety
/// `text` must be a C string from `malloc` that nobody else frees.
unsafe fn take_string(text: *mut c_char) -> String {
    // SAFETY: guaranteed by the caller.
    let copy = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: guaranteed by the caller; freed once.
    unsafe { libc::free(text.cast()) };
    copy
}

/// Returns the message of a libtorch error without the C++ stack trace.
#[must_use]
pub fn reason(error: &TchError) -> String {
    let text = error.to_string();
    match OutOfMemory::in_text(&text) {
        Some(exhausted) => exhausted.to_string(),
        None => text.lines().next().unwrap_or_default().to_owned(),
    }
}

/// Returns the value, or panics with libtorch's message as tch's own functions do.
///
/// # Panics
/// Panics on an error, usually exhausted memory, which [`crate::memory`] catches.
pub fn expect<T, E: Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

/// Allows or forbids TF32, which rounds the factors of f32 products to 10 bits of mantissa.
///
/// It is faster on GPUs that support it. Applies to matrix products, convolutions and recurrent
/// networks.
pub fn allow_tf32(allowed: bool) {
    let _ = set_tf32(allowed);
}

/// Sets the flags, and returns the setting before.
fn set_tf32(allowed: bool) -> bool {
    // SAFETY: reads and sets flags of libtorch's global context.
    unsafe { capsmith_allow_tf32(allowed) }
}

/// Setting of [`allow_tf32`] for a scope; dropping it restores the setting before.
#[must_use]
pub struct Tf32Scope {
    before: bool,
}

impl Tf32Scope {
    /// Allows or forbids TF32 until the scope ends.
    pub fn new(allowed: bool) -> Self {
        Self { before: set_tf32(allowed) }
    }
}

impl Drop for Tf32Scope {
    fn drop(&mut self) {
        allow_tf32(self.before);
    }
}

/// Leaves attention on GPUs to libtorch's own kernels; returns whether cuDNN's were allowed before.
///
/// For 16-bit types libtorch 2.11 prefers cuDNN's on an H200. These round the probability of
/// dropout to sixteenths (pytorch/pytorch#174245), and each new length of a sequence, so each
/// generated token, makes cuDNN plan anew.
pub(crate) fn forbid_cudnn_attention() -> bool {
    // SAFETY: reads and sets a flag of libtorch's global context.
    unsafe { capsmith_allow_cudnn_attention(false) }
}

/// Selects deterministic algorithms, like `torch.use_deterministic_algorithms`.
///
/// Operations without one then fail, such as matrix products of a GPU in a process that was not
/// started with `CUBLAS_WORKSPACE_CONFIG=:4096:8`, as `capsmith` starts itself.
pub fn use_deterministic_algorithms(only: bool) {
    // SAFETY: sets flags of libtorch's global context.
    unsafe { capsmith_deterministic(only) }
}

/// Returns libtorch's build description: version, CPU instruction set, and the versions of CUDA and
/// cuDNN if its CUDA library is loaded.
///
/// # Errors
/// Fails if libtorch reports an error.
pub fn configuration() -> Result<String, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: `out` is written on success.
    check(unsafe { capsmith_configuration(&raw mut out) })?;
    // SAFETY: C++ allocated the text with strdup and gave up ownership.
    Ok(unsafe { take_string(out) })
}

/// Returns the peak number of bytes allocated for tensors on a GPU since the last
/// [reset](reset_peak_memory).
///
/// # Errors
/// Fails if the GPU's allocator does not count, or nothing has been allocated yet.
pub fn peak_memory(gpu: usize) -> Result<u64, TchError> {
    let mut bytes = 0;
    // SAFETY: `bytes` is written on success.
    check(unsafe { capsmith_peak_memory(gpu as i8, &raw mut bytes) })?;
    Ok(bytes as u64)
}

/// Resets [`peak_memory`] to the bytes that are currently allocated.
///
/// # Errors
/// Same as [`peak_memory`].
pub fn reset_peak_memory(gpu: usize) -> Result<(), TchError> {
    // SAFETY: changes counters of the allocator.
    check(unsafe { capsmith_reset_peak_memory(gpu as i8) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_reasons_omit_the_stack_trace() {
        let error = Tensor::from(1.0).f_view([7]).unwrap_err();
        assert!(error.to_string().lines().count() > 2, "libtorch gives frames: {error}");
        let reason = reason(&error);
        assert!(reason.contains("shape '[7]' is invalid") && !reason.contains('\n'), "{reason}");
    }
}
