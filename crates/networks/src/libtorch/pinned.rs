//! Page-locked memory and events, for copies that run beside a GPU's work.

use std::ffi::c_char;
use std::ptr::{self, NonNull};

use tch::kind::Element;
use tch::{Device, Kind, TchError, Tensor};
use torch_sys::C_tensor;

use super::{check, returned};

unsafe extern "C" {
    fn capsmith_empty_pinned(
        size: *const i64,
        dimensions: usize,
        kind: i8,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn capsmith_record_event(gpu: i8, out: *mut *mut C_event) -> *mut c_char;
    fn capsmith_wait_for_event(event: *const C_event) -> *mut c_char;
    fn capsmith_free_event(event: *mut C_event);
}

/// libtorch's `c10::Event`.
#[repr(C)]
struct C_event {
    _private: [u8; 0],
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
    // SAFETY: `size` outlives the call; `out` is written on success with a tensor of ours.
    unsafe {
        returned(|out| capsmith_empty_pinned(size.as_ptr(), size.len(), scalar_type(kind), out))
    }
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
