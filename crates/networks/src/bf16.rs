//! bf16 copies of weights, kept from step to step: a cast for each weight and step, and one for its
//! gradient, are hundreds of launches on a GPU.

use std::cell::RefCell;
use std::collections::HashMap;

use tch::{Kind, TchError, Tensor, no_grad};

use crate::libtorch;

/// Copies in bf16 of the weights that enter products, each made when it is first used.
///
/// A copy takes the gradient in its weight's stead. After the weights have changed, [`Self::refresh`] is
/// due.
#[derive(Debug, Default)]
pub struct Bf16Copies {
    /// Weights with their copies, by the weight's address.
    copies: RefCell<HashMap<usize, (Tensor, Tensor)>>,
}

impl Bf16Copies {
    /// Returns the copy of a weight.
    pub(crate) fn of(&self, weight: &Tensor) -> Tensor {
        let make = || {
            let copy = no_grad(|| weight.to_kind(Kind::BFloat16));
            (weight.shallow_clone(), copy.set_requires_grad(weight.requires_grad()))
        };
        let mut copies = self.copies.borrow_mut();
        copies.entry(address(weight)).or_insert_with(make).1.shallow_clone()
    }

    /// Copies the weights that take gradients again.
    ///
    /// # Errors
    /// Fails if libtorch refuses, for want of memory.
    pub fn refresh(&self) -> Result<(), TchError> {
        let copies = self.copies.borrow();
        let trained = copies.values().filter(|(weight, _)| weight.requires_grad());
        let (weights, copies): (Vec<Tensor>, Vec<Tensor>) =
            trained.map(|(weight, copy)| (weight.shallow_clone(), copy.shallow_clone())).unzip();
        no_grad(|| libtorch::foreach_copy(&copies, &weights))
    }

    /// Returns the gradients of `scalar` by tensors; by a weight that has a copy it is the sum of both
    /// gradients, in the weight's type.
    pub(crate) fn gradients(
        &self,
        scalar: &Tensor,
        by: &[&Tensor],
    ) -> Result<Vec<Tensor>, TchError> {
        let copies = self.copies.borrow();
        let copied = by.iter().enumerate().filter_map(|(index, tensor)| {
            copies.get(&address(tensor)).map(|(_, copy)| (index, copy))
        });
        let (indices, copies): (Vec<usize>, Vec<&Tensor>) = copied.unzip();
        let all = [by, &copies].concat();
        let mut gradients = Tensor::f_run_backward(&[scalar], &all, false, false)?;
        let of_copies = gradients.split_off(by.len());
        let of_copies: Vec<(usize, Tensor)> =
            indices.into_iter().zip(of_copies).filter(|(_, gradient)| gradient.defined()).collect();
        let (indices, of_copies): (Vec<usize>, Vec<Tensor>) = of_copies.into_iter().unzip();
        let cast: Vec<Tensor> =
            indices.iter().map(|&index| by[index].f_empty_like()).collect::<Result<_, _>>()?;
        no_grad(|| {
            libtorch::foreach_copy(&cast, &of_copies)?;
            for (index, cast) in indices.into_iter().zip(cast) {
                let gradient = &mut gradients[index];
                // An embedding that is the output head, too, has a part in each type.
                *gradient = if gradient.defined() { gradient.f_add(&cast)? } else { cast };
            }
            Ok(gradients)
        })
    }
}

fn address(tensor: &Tensor) -> usize {
    tensor.data_ptr() as usize
}
