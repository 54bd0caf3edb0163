//! Functions of layers.

use std::ffi::{CStr, c_char};
use std::ptr;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::returned;

unsafe extern "C" {
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
}

/// Returns `rows[from]`; the gradient of row i is that of result `back[i]`.
///
/// The backward pass is a single gather, where `index_select` adds up all results of a row. It is
/// correct only if the other results have no gradient.
///
/// # Errors
/// Fails if memory is exhausted.
pub(crate) fn index_rows(rows: &Tensor, from: &Tensor, back: &Tensor) -> Result<Tensor, TchError> {
    // SAFETY: live tensors; `out` is written on success with a tensor of ours.
    unsafe { returned(|out| capsmith_index_rows(rows.as_ptr(), from.as_ptr(), back.as_ptr(), out)) }
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
    // SAFETY: live tensors; `out` is written on success with a tensor of ours.
    unsafe {
        returned(|out| capsmith_addmm_gelu(bias.as_ptr(), rows.as_ptr(), weight.as_ptr(), out))
    }
}

/// Brings a linear layer's weight `[outputs, inputs]` into oneDNN's layout for products with about
/// `rows` rows, which [`packed_linear`] takes.
///
/// # Errors
/// Fails without oneDNN, for types without kernels on this processor, or if memory is exhausted.
pub(crate) fn pack_linear(weight: &Tensor, rows: i64) -> Result<Tensor, TchError> {
    // SAFETY: a live tensor; `out` is written on success with a tensor of ours.
    unsafe { returned(|out| capsmith_pack_linear(weight.as_ptr(), rows, out)) }
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
    // SAFETY: live tensors and C strings; `out` is written on success with a tensor of ours.
    unsafe {
        returned(|out| {
            capsmith_packed_linear(
                rows.as_ptr(),
                weight.as_ptr(),
                bias.map_or(ptr::null(), Tensor::as_ptr),
                function.as_ptr(),
                variant.as_ptr(),
                out,
            )
        })
    }
}
