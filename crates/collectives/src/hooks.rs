//! Hooks on gradients. Without the feature `gloo` there are none, and nobody is told anything.

use std::sync::Arc;

#[cfg(feature = "gloo")]
use std::ffi::{c_char, c_void};
use tch::{TchError, Tensor};
#[cfg(feature = "gloo")]
use torch_sys::C_tensor;

/// Told a leaf's number and its gradient.
pub(crate) type Receiver = Arc<dyn Fn(usize, &Tensor) + Send + Sync>;

/// Receives gradients of leaves while a backward pass makes them, until it is dropped.
pub(crate) struct Hooks {
    #[cfg(feature = "gloo")]
    leaves: Vec<(Tensor, u32)>,
    /// Boxed, so that it has one address for C++.
    _receiver: Box<Receiver>,
}

#[cfg(not(feature = "gloo"))]
impl Hooks {
    #[allow(clippy::unnecessary_wraps, reason = "as with the feature")]
    pub(crate) fn new(_leaves: &[Tensor], receiver: Receiver) -> Result<Self, TchError> {
        Ok(Self { _receiver: Box::new(receiver) })
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
impl Hooks {
    pub(crate) fn new(leaves: &[Tensor], receiver: Receiver) -> Result<Self, TchError> {
        let receiver = Box::new(receiver);
        let data = std::ptr::from_ref::<Receiver>(&receiver).cast_mut().cast();
        let mut hooks = Self { leaves: Vec::new(), _receiver: receiver };
        for (index, leaf) in leaves.iter().enumerate() {
            let mut hook = 0;
            // SAFETY: `data` lives as long as the hooks, which are taken off before it is dropped.
            let error =
                unsafe { capsmith_hook(leaf.as_ptr(), receive, data, index, &raw mut hook) };
            crate::c10d::checked(error).map_err(TchError::Torch)?;
            hooks.leaves.push((leaf.shallow_clone(), hook));
        }
        Ok(hooks)
    }
}

#[cfg(feature = "gloo")]
impl Drop for Hooks {
    fn drop(&mut self) {
        for (leaf, hook) in &self.leaves {
            // SAFETY: a hook of this leaf.
            unsafe { capsmith_unhook(leaf.as_ptr(), *hook) }
        }
    }
}

#[cfg(feature = "gloo")]
extern "C" fn receive(data: *mut c_void, index: usize, gradient: *mut C_tensor) {
    // SAFETY: the receiver that the hook was made with, which outlives it; and a tensor that lives
    // until this returns, of which the clone has its own reference.
    let (receiver, gradient) =
        unsafe { (&*data.cast_const().cast::<Receiver>(), Tensor::clone_from_ptr(gradient)) };
    receiver(index, &gradient);
}
