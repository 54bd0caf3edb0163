//! Update of [`super::AdamW`] on a CPU in one pass over memory.
//!
//! As separate tensor operations, the update would read and write each parameter's four tensors
//! some twenty times, limited by memory bandwidth; here each value is read and written once.

use std::ffi::c_void;

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

/// Constants of the update, in the parameters' own type.
pub(super) struct Constants {
    pub(super) beta1: f32,
    pub(super) beta2: f32,
    /// `1 - beta1` and `1 - beta2`, subtracted before they were rounded.
    pub(super) new1: f32,
    pub(super) new2: f32,
    pub(super) epsilon: f32,
    /// Learning rate with both bias corrections.
    pub(super) step_size: f32,
    /// Factors of weight decay before and after the step.
    pub(super) kept_before: f32,
    pub(super) kept_after: f32,
    /// Factor of the gradients.
    pub(super) factor: f32,
}

/// Number of values that one thread takes at a time.
const CHUNK: usize = 1 << 16;

/// Returns true for contiguous f32 values on a CPU, which [`update`] takes.
pub(super) fn is_plain(tensor: &Tensor) -> bool {
    tensor.device() == Device::Cpu && tensor.kind() == Kind::Float && tensor.is_contiguous()
}

/// Updates a parameter and its moments in place.
///
/// The tensors are the parameter, its gradient, and its first and second moment.
///
/// # Panics
/// Panics if the tensors differ in size, or one is not [plain](is_plain).
pub(super) fn update(tensors: [&Tensor; 4], constants: &Constants, threads: usize) {
    assert!(tensors.into_iter().all(is_plain), "f32 rows on the processor");
    let length = tensors[0].numel();
    assert!(tensors.iter().all(|tensor| tensor.numel() == length), "tensors of one size");
    // SAFETY: four live tensors of `length` contiguous f32 values each, as just checked. A
    // parameter and its moments share no memory with each other or with a gradient, which autograd
    // made new, and the caller holds the only means to change them.
    let [parameter, gradient, first, second] =
        tensors.map(|tensor| unsafe { values(tensor.data_ptr(), length) });
    if threads == 1 || length <= CHUNK {
        update_values(parameter, gradient, first, second, constants);
    } else {
        parameter
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK)))
            .for_each(|((parameter, gradient), (first, second))| {
                update_values(parameter, gradient, first, second, constants);
            });
    }
}

/// # Safety
/// At `address` are `length` f32 values that live long enough and to which there is no other
/// reference.
unsafe fn values<'a>(address: *mut c_void, length: usize) -> &'a mut [f32] {
    if length == 0 {
        return &mut [];
    }
    // SAFETY: promised by the caller.
    unsafe { std::slice::from_raw_parts_mut(address.cast(), length) }
}

fn update_values(
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    constants: &Constants,
) {
    let Constants { beta1, beta2, new1, new2, epsilon, step_size, kept_before, kept_after, factor } =
        *constants;
    let moments = first.iter_mut().zip(second);
    for ((p, g), (m, v)) in parameter.iter_mut().zip(gradient).zip(moments) {
        let g = g * factor;
        *m = *m * beta1 + new1 * g;
        *v = *v * beta2 + new2 * g * g;
        *p = (*p * kept_before - step_size * *m / (v.sqrt() + epsilon)) * kept_after;
    }
}
