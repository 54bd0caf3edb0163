//! Persistent bf16 copies of weights.
//!
//! Autocast casts each weight, and each weight's gradient, in every step: hundreds of kernel
//! launches on a GPU. A persistent copy needs one batched copy per step instead.

use std::cell::RefCell;
use std::collections::HashMap;

use tch::{Kind, TchError, Tensor, no_grad};

use crate::libtorch;

/// Cache of bf16 copies of the weights that enter matrix products, filled on first use.
///
/// Autograd accumulates the gradient on the copy, not on the weight. Call [`Self::refresh`] after
/// each optimizer step.
#[derive(Debug, Default)]
pub struct Bf16Copies {
    /// Weight and copy by the weight's data pointer.
    copies: RefCell<HashMap<usize, (Tensor, Tensor)>>,
}

impl Bf16Copies {
    /// Returns the copy of a weight, creating it on first use.
    pub(crate) fn copy_of(&self, weight: &Tensor) -> Tensor {
        let make = || {
            let copy = no_grad(|| weight.to_kind(Kind::BFloat16));
            (weight.shallow_clone(), copy.set_requires_grad(weight.requires_grad()))
        };
        let mut copies = self.copies.borrow_mut();
        copies.entry(data_pointer(weight)).or_insert_with(make).1.shallow_clone()
    }

    /// Copies the current values of all trainable weights into their copies.
    ///
    /// # Errors
    /// Fails if memory is exhausted.
    pub fn refresh(&self) -> Result<(), TchError> {
        let copies = self.copies.borrow();
        let trained = copies.values().filter(|(weight, _)| weight.requires_grad());
        let (weights, copies): (Vec<Tensor>, Vec<Tensor>) =
            trained.map(|(weight, copy)| (weight.shallow_clone(), copy.shallow_clone())).unzip();
        no_grad(|| libtorch::foreach_copy(&copies, &weights))
    }

    /// Returns the gradients of `scalar` with respect to `inputs`, each in the type of its tensor.
    ///
    /// For a weight that has a copy this is the sum of the weight's and the copy's gradients.
    pub(crate) fn gradients(
        &self,
        scalar: &Tensor,
        inputs: &[&Tensor],
    ) -> Result<Vec<Tensor>, TchError> {
        let copies = self.copies.borrow();
        let copied = inputs.iter().enumerate().filter_map(|(index, tensor)| {
            copies.get(&data_pointer(tensor)).map(|(_, copy)| (index, copy))
        });
        let (indices, copies): (Vec<usize>, Vec<&Tensor>) = copied.unzip();
        let all = [inputs, &copies].concat();
        let mut gradients = Tensor::f_run_backward(&[scalar], &all, false, false)?;
        let of_copies = gradients.split_off(inputs.len());
        let of_copies: Vec<(usize, Tensor)> =
            indices.into_iter().zip(of_copies).filter(|(_, gradient)| gradient.defined()).collect();
        let (indices, of_copies): (Vec<usize>, Vec<Tensor>) = of_copies.into_iter().unzip();
        let cast: Vec<Tensor> =
            indices.iter().map(|&index| inputs[index].f_empty_like()).collect::<Result<_, _>>()?;
        no_grad(|| {
            libtorch::foreach_copy(&cast, &of_copies)?;
            for (index, cast) in indices.into_iter().zip(cast) {
                let gradient = &mut gradients[index];
                // A token embedding that is also the output head has a gradient in each type.
                *gradient = if gradient.defined() { gradient.f_add(&cast)? } else { cast };
            }
            Ok(gradients)
        })
    }
}

fn data_pointer(tensor: &Tensor) -> usize {
    tensor.data_ptr() as usize
}
