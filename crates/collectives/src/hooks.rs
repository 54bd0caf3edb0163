//! Autograd hooks that receive gradients. Without the feature `gloo` they are never called.

use std::sync::Arc;

#[cfg(feature = "gloo")]
use std::ffi::{c_char, c_void};
use tch::{TchError, Tensor};
#[cfg(feature = "gloo")]
use torch_sys::C_tensor;

/// Callback with the index and gradient of a leaf.
pub(crate) type GradientCallback = Arc<dyn Fn(usize, &Tensor) + Send + Sync>;

/// Hooks that pass leaf gradients to a callback during backward passes, until dropped.
pub(crate) struct GradientHooks {
    #[cfg(feature = "gloo")]
    leaves: Vec<(Tensor, u32)>,
    /// Boxed, so that its address, held by C++, is stable.
    _callback: Box<GradientCallback>,
}

#[cfg(not(feature = "gloo"))]
impl GradientHooks {
    #[allow(clippy::unnecessary_wraps, reason = "as with the feature")]
    pub(crate) fn new(_leaves: &[Tensor], callback: GradientCallback) -> Result<Self, TchError> {
        Ok(Self { _callback: Box::new(callback) })
    }
}

#[cfg(feature = "gloo")]
type Receive = extern "C" fn(data: *mut c_void, index: usize, gradient: *mut C_tensor);

#[cfg(feature = "gloo")]
unsafe extern "C" {
    fn capsmith_hook(
        leaf: *const C_tensor,
        receive: Receive,
        data: *mut c_void,
        index: usize,
        out: *mut u32,
    ) -> *mut c_char;
    fn capsmith_unhook(leaf: *const C_tensor, hook: u32);
}

#[cfg(feature = "gloo")]
impl GradientHooks {
    pub(crate) fn new(leaves: &[Tensor], callback: GradientCallback) -> Result<Self, TchError> {
        let callback = Box::new(callback);
        let data = std::ptr::from_ref::<GradientCallback>(&callback).cast_mut().cast();
        let mut hooks = Self { leaves: Vec::new(), _callback: callback };
        for (index, leaf) in leaves.iter().enumerate() {
            let mut hook = 0;
            // SAFETY: `data` outlives the hooks, which `drop` removes first.
            let error =
                unsafe { capsmith_hook(leaf.as_ptr(), receive, data, index, &raw mut hook) };
            crate::c10d::check(error).map_err(TchError::Torch)?;
            hooks.leaves.push((leaf.shallow_clone(), hook));
        }
        Ok(hooks)
    }
}

#[cfg(feature = "gloo")]
impl Drop for GradientHooks {
    fn drop(&mut self) {
        for (leaf, hook) in &self.leaves {
            // SAFETY: a hook of this leaf.
            unsafe { capsmith_unhook(leaf.as_ptr(), *hook) }
        }
    }
}

#[cfg(feature = "gloo")]
extern "C" fn receive(data: *mut c_void, index: usize, gradient: *mut C_tensor) {
    // SAFETY: `data` is the callback given to the hook, which outlives it. The tensor lives until
    // this function returns; the clone holds its own reference.
    let (callback, gradient) = unsafe {
        (&*data.cast_const().cast::<GradientCallback>(), Tensor::clone_from_ptr(gradient))
    };
    callback(index, &gradient);
}
