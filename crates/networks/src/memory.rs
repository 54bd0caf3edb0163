//! Exhausted memory as an error instead of a panic.
//!
//! Most tch functions panic on a libtorch error. [`catch_out_of_memory`] converts the panics caused
//! by exhausted memory into errors, so that the networks need not check each operation.

use std::any::Any;
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use tch::TchError;

/// Failed allocation on a GPU or in host memory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct OutOfMemory {
    /// True for GPU memory, false for host memory.
    pub is_gpu: bool,
    /// Size of the failed allocation in libtorch's words, such as `2.00 MiB`.
    pub requested: Option<String>,
}

/// Messages of libtorch, cuBLAS and cuDNN for exhausted GPU memory.
const GPU: [&str; 4] = [
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",
];

/// Messages of libtorch for exhausted host memory.
const MACHINE: [&str; 2] = ["DefaultCPUAllocator", "std::bad_alloc"];

impl OutOfMemory {
    /// Detects exhausted memory in the text of a libtorch error; returns `None` for other errors.
    #[must_use]
    pub fn in_text(text: &str) -> Option<Self> {
        let is_gpu = GPU.iter().any(|marker| text.contains(marker));
        if !is_gpu && !MACHINE.iter().any(|marker| text.contains(marker)) {
            return None;
        }
        let requested = text.split_once("ried to allocate ").and_then(|(_, rest)| {
            let (size, _) = rest.split_once(". ")?;
            Some(size.to_owned())
        });
        Some(Self { is_gpu, requested })
    }

    /// Detects exhausted memory in an error or one of its sources.
    #[must_use]
    pub fn in_error(error: &(dyn Error + 'static)) -> Option<Self> {
        let own = error.downcast_ref::<Self>().cloned();
        own.or_else(|| Self::in_text(&error.downcast_ref::<TchError>()?.to_string()))
            .or_else(|| Self::in_error(error.source()?))
    }

    fn in_panic(payload: &(dyn Any + Send)) -> Option<Self> {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        Self::in_text(text.or_else(|| payload.downcast_ref::<&str>().copied())?)
    }
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = if self.is_gpu { "the GPU" } else { "this machine" };
        match &self.requested {
            Some(size) => write!(f, "out of memory: {device} cannot allocate {size} more"),
            None => write!(f, "out of memory: {device} has no memory left"),
        }
    }
}

thread_local! {
    /// Number of active calls of [`catch_out_of_memory`] on this thread.
    static GUARDS: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work`, and returns a panic caused by exhausted memory as an error.
///
/// Such a panic prints nothing; other panics continue.
///
/// Drop values that `work` was modifying: they may be in an inconsistent state.
///
/// # Errors
/// Fails if memory is exhausted.
pub fn catch_out_of_memory<T>(work: impl FnOnce() -> T) -> Result<T, OutOfMemory> {
    install_panic_hook();
    GUARDS.set(GUARDS.get() + 1);
    let result = catch_panic(work);
    GUARDS.set(GUARDS.get() - 1);
    result.map_err(|payload| {
        OutOfMemory::in_panic(&*payload).unwrap_or_else(|| panic::resume_unwind(payload))
    })
}

/// Runs `work`, and returns its panic as an error. Restores autograd's gradient mode.
///
/// Drop values that `work` was modifying: they may be in an inconsistent state.
///
/// # Errors
/// Fails with the payload of the panic.
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, Box<dyn Any + Send>> {
    let gradients_enabled = gradients_enabled();
    // A panic skips the end of `tch::no_grad`.
    panic::catch_unwind(AssertUnwindSafe(work)).inspect_err(|_| {
        set_gradients_enabled(gradients_enabled);
    })
}

/// Runs fallible `work`, and returns panics and errors caused by exhausted memory as
/// [`OutOfMemory`].
///
/// Other errors are returned inside; other panics continue.
///
/// # Errors
/// Fails if memory is exhausted.
pub fn try_catch_out_of_memory<T, E: Error + 'static>(
    work: impl FnOnce() -> Result<T, E>,
) -> Result<Result<T, E>, OutOfMemory> {
    let result = catch_out_of_memory(work)?;
    match result.as_ref().err().and_then(|error| OutOfMemory::in_error(error)) {
        Some(exhausted) => Err(exhausted),
        None => Ok(result),
    }
}

/// Keeps the panic hook from printing panics that [`catch_out_of_memory`] will catch.
fn install_panic_hook() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if GUARDS.get() == 0 || OutOfMemory::in_panic(panic.payload()).is_none() {
                before(panic);
            }
        }));
    });
}

fn gradients_enabled() -> bool {
    let before = set_gradients_enabled(true);
    set_gradients_enabled(before);
    before
}

/// Sets autograd's gradient mode of this thread, and returns the previous mode.
fn set_gradients_enabled(enabled: bool) -> bool {
    // SAFETY: sets a thread-local flag.
    unsafe { torch_sys::at_grad_set_enabled(enabled.into()) != 0 }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    /// Allocates more than any address space holds.
    fn too_much() -> Tensor {
        Tensor::empty([1 << 52], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn out_of_memory_panics_become_errors_and_gradient_mode_is_restored() {
        let error = catch_out_of_memory(|| tch::no_grad(too_much)).unwrap_err();
        let requested = Some(format!("{} bytes", 1_i64 << 54));
        assert_eq!(error, OutOfMemory { is_gpu: false, requested });
        let leaf = Tensor::from(1.0).set_requires_grad(true);
        assert!((&leaf * 2.0).requires_grad());
        let error = catch_out_of_memory(|| catch_out_of_memory(too_much).unwrap_err()).unwrap();
        assert!(
            error.to_string().contains("this machine cannot allocate 18014398509481984 bytes more")
        );
    }

    #[test]
    fn out_of_memory_is_found_in_error_sources() {
        let exhausted = |text: &str| {
            let error = TchError::Torch(text.to_owned());
            try_catch_out_of_memory(|| Err::<(), _>(crate::error::ModelError::Torch(error)))
        };
        let found =
            exhausted("CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0 has\nframe #0");
        let requested = Some("2.00 MiB".to_owned());
        assert_eq!(found.unwrap_err(), OutOfMemory { is_gpu: true, requested });
        assert!(exhausted("an illegal memory access").unwrap().is_err());
        assert!(
            try_catch_out_of_memory(|| Ok::<_, TchError>(too_much()))
                .unwrap_err()
                .requested
                .is_some()
        );
        assert_eq!(try_catch_out_of_memory(|| Ok::<_, TchError>(3)).unwrap().unwrap(), 3);
    }

    #[test]
    fn other_panics_continue_and_values_are_returned() {
        assert_eq!(catch_out_of_memory(|| 3), Ok(3));
        let other = || catch_out_of_memory(|| Tensor::from(1.0).view([7]));
        let payload = panic::catch_unwind(AssertUnwindSafe(other)).unwrap_err();
        assert!(payload.downcast_ref::<String>().unwrap().contains("invalid for input of size 1"));
        assert_eq!(GUARDS.get(), 0);
    }

    #[test]
    fn messages_of_libraries_are_recognised() {
        for (text, is_gpu, requested) in [
            (
                "CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 8.00 GiB",
                true,
                Some("1.50 GiB"),
            ),
            ("CUDA error: out of memory\nCUDA kernel errors might be", true, None),
            (
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
                true,
                None,
            ),
            ("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", true, None),
            (
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes. Error code 12",
                false,
                Some("8 bytes"),
            ),
        ] {
            let requested = requested.map(str::to_owned);
            assert_eq!(OutOfMemory::in_text(text), Some(OutOfMemory { is_gpu, requested }));
        }
        assert_eq!(OutOfMemory::in_text("CUDA error: an illegal memory access"), None);
    }
}
