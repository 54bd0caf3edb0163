//! Functions on lists of tensors, which launch a few kernels for all of them together.
//!
//! On a GPU, launching one per tensor costs as much as a small tensor's arithmetic.

use std::ffi::c_char;
use std::ptr;

use tch::{Kind, TchError, Tensor};
use torch_sys::C_tensor;

use super::check;

unsafe extern "C" {
    fn capsmith_foreach_norm(
        tensors: *const *mut C_tensor,
        count: usize,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn capsmith_foreach_add(
        to: *const *mut C_tensor,
        from: *const *mut C_tensor,
        count: usize,
    ) -> *mut c_char;
    fn capsmith_foreach_copy(
        to: *const *mut C_tensor,
        from: *const *mut C_tensor,
        count: usize,
    ) -> *mut c_char;
    fn capsmith_mark_non_finite(
        values: *const C_tensor,
        found: *const C_tensor,
        scale: *const C_tensor,
    ) -> *mut c_char;
    fn capsmith_fused_adamw(
        parameters: *const *mut C_tensor,
        gradients: *const *mut C_tensor,
        first_moments: *const *mut C_tensor,
        second_moments: *const *mut C_tensor,
        count: usize,
        step: *const C_tensor,
        rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
        grad_scale: *const C_tensor,
        found_inf: *const C_tensor,
    ) -> *mut c_char;
}

fn pointers<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<*mut C_tensor> {
    tensors.into_iter().map(|tensor| tensor.as_ptr().cast_mut()).collect()
}

/// Returns the L2 norm of each tensor, as scalars.
///
/// # Errors
/// Fails if memory is exhausted.
pub fn foreach_norm(tensors: &[Tensor]) -> Result<Vec<Tensor>, TchError> {
    let mut out = vec![ptr::null_mut(); tensors.len()];
    // SAFETY: live tensors; `out` has one element per tensor, all written on success.
    check(unsafe {
        capsmith_foreach_norm(pointers(tensors).as_ptr(), tensors.len(), out.as_mut_ptr())
    })?;
    // SAFETY: C++ allocated the tensors and gave up ownership.
    Ok(out.into_iter().map(|tensor| unsafe { Tensor::from_ptr(tensor) }).collect())
}

/// Adds each tensor of `from` to the corresponding one of `to` in place.
///
/// # Errors
/// Fails for lists or tensors of different sizes.
pub fn foreach_add(to: &[Tensor], from: &[Tensor]) -> Result<(), TchError> {
    if to.len() != from.len() {
        return Err(TchError::Torch("lists of different lengths".to_owned()));
    }
    // SAFETY: both lists have the same number of live tensors.
    check(unsafe { capsmith_foreach_add(pointers(to).as_ptr(), pointers(from).as_ptr(), to.len()) })
}

/// Copies each tensor of `from` over the corresponding one of `to`, converting its type.
///
/// # Errors
/// Fails for lists or tensors of different sizes.
pub fn foreach_copy(to: &[Tensor], from: &[Tensor]) -> Result<(), TchError> {
    if to.len() != from.len() {
        return Err(TchError::Torch("lists of different lengths".to_owned()));
    }
    if to.is_empty() {
        return Ok(());
    }
    // SAFETY: both lists have the same number of live tensors.
    check(unsafe {
        capsmith_foreach_copy(pointers(to).as_ptr(), pointers(from).as_ptr(), to.len())
    })
}

/// Returns 1 if any of the f32 `values` is infinite or NaN, else 0.
///
/// The result is a float scalar on their device, as [`fused_adamw`] takes it.
///
/// # Errors
/// Fails if memory is exhausted.
pub fn any_non_finite(values: &Tensor) -> Result<Tensor, TchError> {
    let scalar = (Kind::Float, values.device());
    let (found, scale) = (Tensor::f_zeros([], scalar)?, Tensor::f_ones([], scalar)?);
    // SAFETY: live tensors.
    check(unsafe { capsmith_mark_non_finite(values.as_ptr(), found.as_ptr(), scale.as_ptr()) })?;
    Ok(found)
}

/// Tensors of an AdamW step, in the same order.
#[derive(Debug, Clone, Copy)]
pub struct AdamWTensors<'a> {
    /// Parameters, updated in place.
    pub parameters: &'a [Tensor],
    /// Gradients, divided by the scale in place; no two may share memory.
    pub gradients: &'a [Tensor],
    /// First moments, updated in place.
    pub first_moments: &'a [Tensor],
    /// Second moments, updated in place.
    pub second_moments: &'a [Tensor],
}

/// Hyperparameters of an AdamW step, named as in `torch.optim.AdamW`.
#[derive(Debug, Clone, Copy)]
pub struct AdamWNumbers {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Decoupled weight decay, before the step.
    pub weight_decay: f64,
    /// Added to the square root of the bias-corrected second moment.
    pub eps: f64,
}

/// Updates all parameters by `torch.optim.AdamW`'s rule in a few kernels.
///
/// `step`, a float scalar on the device, counts from 1. `grad_scale` divides the gradients, and
/// `found_inf` 1 skips the update; both are float scalars on the device.
///
/// # Errors
/// Fails for lists of different lengths, or tensors of mismatched shapes, types or devices.
pub fn fused_adamw(
    tensors: &AdamWTensors,
    numbers: &AdamWNumbers,
    step: &Tensor,
    grad_scale: Option<&Tensor>,
    found_inf: Option<&Tensor>,
) -> Result<(), TchError> {
    let AdamWTensors { parameters, gradients, first_moments, second_moments } = *tensors;
    let count = parameters.len();
    if [gradients, first_moments, second_moments].iter().any(|list| list.len() != count) {
        return Err(TchError::Torch("lists of different lengths".to_owned()));
    }
    let AdamWNumbers { lr, beta1, beta2, weight_decay, eps } = *numbers;
    let optional = |tensor: Option<&Tensor>| tensor.map_or(ptr::null(), Tensor::as_ptr);
    // SAFETY: all lists have the same number of live tensors.
    check(unsafe {
        capsmith_fused_adamw(
            pointers(parameters).as_ptr(),
            pointers(gradients).as_ptr(),
            pointers(first_moments).as_ptr(),
            pointers(second_moments).as_ptr(),
            count,
            step.as_ptr(),
            lr,
            beta1,
            beta2,
            weight_decay,
            eps,
            optional(grad_scale),
            optional(found_inf),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_finite_values_are_marked_and_not_changed() {
        for (values, expected) in [
            ([1.0, -3e38], 0.0),
            ([f32::INFINITY, 1.0], 1.0),
            ([1.0, f32::NEG_INFINITY], 1.0),
            ([f32::NAN, 1.0], 1.0),
        ] {
            let tensor = Tensor::from_slice(&values);
            let found = any_non_finite(&tensor).unwrap();
            assert_eq!((found.kind(), found.size()), (Kind::Float, Vec::new()));
            assert_eq!(found.double_value(&[]).to_bits(), f64::to_bits(expected), "{values:?}");
            let after = Vec::<f32>::try_from(tensor).unwrap();
            assert!(after.iter().map(|value| value.to_bits()).eq(values.map(f32::to_bits)));
        }
    }
}
