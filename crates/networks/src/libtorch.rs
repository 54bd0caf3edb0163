//! Bindings to libtorch functions that tch lacks, through `libtorch.cpp`.
//!
//! Functions on lists launch a few kernels for all tensors together. On a GPU, launching one per
//! tensor costs as much as a small tensor's arithmetic.

use std::env;
use std::ffi::{CStr, c_char};
use std::ptr::{self, NonNull};

use tch::kind::Element;
use tch::{Device, Kind, TchError, Tensor};
use torch_sys::C_tensor;

use crate::memory::OutOfMemory;

unsafe extern "C" {
    fn capsmith_allow_tf32(allowed: bool) -> bool;
    fn capsmith_deterministic(only: bool);
    fn capsmith_empty_pinned(
        size: *const i64,
        dimensions: usize,
        kind: i8,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn capsmith_index_rows(
        rows: *const C_tensor,
        from: *const C_tensor,
        back: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn capsmith_addmm_gelu(
        bias: *const C_tensor,
        rows: *const C_tensor,
        weight: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn capsmith_pack_linear(
        weight: *const C_tensor,
        rows: i64,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn capsmith_packed_linear(
        rows: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        function: *const c_char,
        variant: *const c_char,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
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
    fn capsmith_record_event(gpu: i8, out: *mut *mut C_event) -> *mut c_char;
    fn capsmith_wait_for_event(event: *const C_event) -> *mut c_char;
    fn capsmith_free_event(event: *mut C_event);
    fn capsmith_configuration(out: *mut *mut c_char) -> *mut c_char;
    fn capsmith_peak_memory(gpu: i8, out: *mut i64) -> *mut c_char;
    fn capsmith_reset_peak_memory(gpu: i8) -> *mut c_char;
}

/// libtorch's `c10::Event`.
#[repr(C)]
struct C_event {
    _private: [u8; 0],
}

/// Converts and frees an error text.
fn check(error: *mut c_char) -> Result<(), TchError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: C++ allocated the text with strdup and gave up ownership.
    Err(TchError::Torch(unsafe { take_string(error) }))
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
pub(crate) fn expect<T>(result: Result<T, TchError>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

fn pointers<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<*mut C_tensor> {
    tensors.into_iter().map(|tensor| tensor.as_ptr().cast_mut()).collect()
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

/// Selects deterministic algorithms, like `torch.use_deterministic_algorithms`.
///
/// Operations without one then fail.
///
/// Call it at the start of the process, before CUDA is loaded and other threads run: cuBLAS reads
/// its workspace size from an environment variable, which this function sets unless it is set.
pub fn use_deterministic_algorithms(only: bool) {
    const WORKSPACE: &str = "CUBLAS_WORKSPACE_CONFIG";
    if only && env::var_os(WORKSPACE).is_none() {
        // SAFETY: no other thread runs yet, so none reads the environment.
        unsafe { env::set_var(WORKSPACE, ":4096:8") };
    }
    // SAFETY: sets flags of libtorch's global context.
    unsafe { capsmith_deterministic(only) }
}

/// Returns libtorch's number of a type (`c10/core/ScalarType.h`).
fn scalar_type(kind: Kind) -> i8 {
    match kind {
        Kind::Uint8 => 0,
        Kind::Int8 => 1,
        Kind::Int16 => 2,
        Kind::Int => 3,
        Kind::Int64 => 4,
        Kind::Half => 5,
        Kind::Float => 6,
        Kind::Double => 7,
        Kind::Bool => 11,
        Kind::BFloat16 => 15,
        other => unreachable!("page-locked tensors of {other:?} are not supported"),
    }
}

/// Returns an uninitialised tensor in page-locked host memory, for asynchronous copies to a GPU.
///
/// # Errors
/// Fails without CUDA, or if memory is exhausted.
pub(crate) fn empty_pinned(size: &[i64], kind: Kind) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: `size` outlives the call; `out` is written on success.
    check(unsafe {
        capsmith_empty_pinned(size.as_ptr(), size.len(), scalar_type(kind), &raw mut out)
    })?;
    // SAFETY: C++ allocated the tensor and gave up ownership.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// Returns the values of a host tensor as a slice. No other tensor may share its storage.
///
/// # Panics
/// Panics if the tensor is on a GPU, not contiguous, or of another type.
pub(crate) fn values<T: Element>(tensor: &mut Tensor) -> &mut [T] {
    assert_eq!(
        (tensor.device(), tensor.kind()),
        (Device::Cpu, T::KIND),
        "the tensor must be in host memory and of the element type"
    );
    assert!(tensor.is_contiguous(), "the tensor must be contiguous");
    if tensor.numel() == 0 {
        return &mut [];
    }
    // SAFETY: the tensor has this many contiguous host values of type `T`, and outlives the slice.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), tensor.numel()) }
}

/// Returns `rows[from]`; the gradient of row i is that of result `back[i]`.
///
/// The backward pass is a single gather, where `index_select` adds up all results of a row. It is
/// correct only if the other results have no gradient.
///
/// # Errors
/// Fails if memory is exhausted.
pub(crate) fn index_rows(rows: &Tensor, from: &Tensor, back: &Tensor) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: live tensors; `out` is written on success.
    check(unsafe {
        capsmith_index_rows(rows.as_ptr(), from.as_ptr(), back.as_ptr(), &raw mut out)
    })?;
    // SAFETY: C++ allocated the tensor and gave up ownership.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// Returns `gelu(bias + rows @ weight)`, which a GPU computes in one kernel.
///
/// GPUs use the tanh approximation of GELU, the CPU the exact one.
///
/// tch's own binding passes `use_gelu` as the factor of `bias`.
///
/// # Errors
/// Fails if memory is exhausted, or for shapes that do not match.
pub(crate) fn addmm_gelu(
    bias: &Tensor,
    rows: &Tensor,
    weight: &Tensor,
) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: live tensors; `out` is written on success.
    check(unsafe {
        capsmith_addmm_gelu(bias.as_ptr(), rows.as_ptr(), weight.as_ptr(), &raw mut out)
    })?;
    // SAFETY: C++ allocated the tensor and gave up ownership.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// Brings a linear layer's weight `[outputs, inputs]` into oneDNN's layout for products with about
/// `rows` rows, which [`packed_linear`] takes.
///
/// # Errors
/// Fails without oneDNN, for types without kernels on this processor, or if memory is exhausted.
pub(crate) fn pack_linear(weight: &Tensor, rows: i64) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: a live tensor; `out` is written on success.
    check(unsafe { capsmith_pack_linear(weight.as_ptr(), rows, &raw mut out) })?;
    // SAFETY: C++ allocated the tensor and gave up ownership.
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// Returns `function(rows W^T + bias)`, `[.., outputs]` for rows `[.., inputs]`.
///
/// `weight` is of [`pack_linear`]. `function` and `variant` are those of libtorch's operator
/// `mkldnn::_linear_pointwise`.
///
/// # Errors
/// Fails for tensors of other shapes or types, an unknown function, or if memory is exhausted.
pub(crate) fn packed_linear(
    rows: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    function: &CStr,
    variant: &CStr,
) -> Result<Tensor, TchError> {
    let mut out = ptr::null_mut();
    // SAFETY: live tensors and C strings; `out` is written on success.
    check(unsafe {
        capsmith_packed_linear(
            rows.as_ptr(),
            weight.as_ptr(),
            bias.map_or(ptr::null(), Tensor::as_ptr),
            function.as_ptr(),
            variant.as_ptr(),
            &raw mut out,
        )
    })?;
    // SAFETY: C++ allocated the tensor and gave up ownership.
    Ok(unsafe { Tensor::from_ptr(out) })
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

/// CUDA event: a point in a GPU's work that the host can wait for.
#[derive(Debug)]
pub(crate) struct Event(NonNull<C_event>);

impl Event {
    /// Records an event after all work queued so far on GPU number `gpu`.
    ///
    /// # Errors
    /// Fails without CUDA, or if earlier work of the GPU failed.
    pub(crate) fn record(gpu: usize) -> Result<Self, TchError> {
        let no_gpu = || TchError::Torch(format!("there is no GPU {gpu}"));
        let number = i8::try_from(gpu).map_err(|_| no_gpu())?;
        let mut out = ptr::null_mut();
        // SAFETY: `out` is written on success.
        check(unsafe { capsmith_record_event(number, &raw mut out) })?;
        NonNull::new(out).map(Self).ok_or_else(no_gpu)
    }

    /// Waits until the GPU has reached the event.
    ///
    /// # Errors
    /// Fails if work of the GPU failed.
    pub(crate) fn wait(&self) -> Result<(), TchError> {
        // SAFETY: `record` made the event, which lives until it is dropped.
        check(unsafe { capsmith_wait_for_event(self.0.as_ptr()) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: `record` made the event; freed once.
        unsafe { capsmith_free_event(self.0.as_ptr()) }
    }
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
