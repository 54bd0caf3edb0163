//! Forward passes: dropout, precision and gradient checkpointing.
//!
//! With gradient checkpointing, activations are not kept. The backward pass recomputes those of one
//! segment at a time (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016).
//!
//! In a [`Pass`] with checkpointing a network computes its segments without gradients, and only the
//! rows between them are kept. All that follows the last segment, the loss included, is ordinary
//! autograd. [`Pass::gradients`] then goes through the segments from the last to the first. So a
//! loss is written once, and has the same gradients with checkpointing and without. Dropout is the
//! same both times, since each segment's draws have a seed of their own.

use std::cell::RefCell;
use std::fmt;

use tch::{TchError, Tensor, no_grad};

use crate::precision::Precision;

/// Dropout, precision and gradient checkpointing of a forward pass.
///
/// `'m` is the lifetime of the models and batches that a pass with checkpointing reads again.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'t, 'm> {
    /// Activates dropout.
    pub dropout: bool,
    /// The type of matrix products.
    pub precision: Precision<'t>,
    /// Computes activations again instead of keeping them, where it is given.
    pub checkpointing: Option<&'t GradientCheckpointing<'m>>,
}

impl Pass<'_, '_> {
    /// With dropout, in the parameters' own type.
    pub const TRAINING: Self =
        Self { dropout: true, precision: Precision::Full, checkpointing: None };
    /// Without dropout, in the parameters' own type.
    pub const EVALUATION: Self =
        Self { dropout: false, precision: Precision::Full, checkpointing: None };

    /// Sets values to 0 with this probability in training, and divides the others by its
    /// complement.
    pub(crate) fn drop_values(self, values: Tensor, probability: f64) -> Tensor {
        if self.dropout && probability > 0.0 { values.dropout(probability, true) } else { values }
    }
}

/// A part of a network that is computed again on its own, from the rows that the segment before it
/// returns. The first gets an undefined tensor.
pub(crate) type Segment<'m> = Box<dyn Fn(&Tensor, Pass<'_, 'm>) -> Tensor + 'm>;

/// Distance of the seeds of two networks in one pass, each of which has fewer segments.
const SEEDS_OF_A_NETWORK: i64 = 1 << 16;

/// The segments that one forward pass has computed without keeping their activations.
pub struct GradientCheckpointing<'m> {
    seed: i64,
    networks: RefCell<Vec<Network<'m>>>,
}

/// A network in segments, computed once.
struct Network<'m> {
    seed: i64,
    /// The segments, each with the rows that it read.
    segments: Vec<(Segment<'m>, Tensor)>,
    /// Output of the last segment: a leaf, from which autograd continues.
    output: Tensor,
}

impl fmt::Debug for GradientCheckpointing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GradientCheckpointing").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl<'m> GradientCheckpointing<'m> {
    /// Prepares one forward pass, whose dropout is drawn by `seed`.
    #[must_use]
    pub fn new(seed: i64) -> Self {
        Self { seed, networks: RefCell::default() }
    }

    /// Computes the segments without keeping activations, and returns the last one's output.
    ///
    /// The output is a leaf that requires gradients, from which autograd continues.
    pub(crate) fn forward(&self, segments: Vec<Segment<'m>>, pass: Pass<'_, 'm>) -> Tensor {
        let earlier = self.networks.borrow().len() as i64;
        let seed = self.seed.wrapping_add(earlier * SEEDS_OF_A_NETWORK);
        let mut rows = Tensor::new();
        let mut computed = Vec::with_capacity(segments.len());
        for (number, segment) in (0..).zip(segments) {
            tch::manual_seed(seed.wrapping_add(number));
            let next = no_grad(|| segment(&rows, pass.without_checkpointing()));
            computed.push((segment, std::mem::replace(&mut rows, next)));
        }
        tch::manual_seed(seed.wrapping_add(computed.len() as i64));
        let output = rows.detach().set_requires_grad(true);
        let network = Network { seed, segments: computed, output: output.shallow_clone() };
        self.networks.borrow_mut().push(network);
        output
    }

    /// Returns the gradients of a scalar by `parameters`, through all networks of the pass.
    pub(crate) fn gradients(
        &self,
        scalar: &Tensor,
        parameters: &[&Tensor],
        pass: Pass<'_, 'm>,
    ) -> Result<Vec<Tensor>, TchError> {
        let networks = self.networks.take();
        let outputs: Vec<&Tensor> = networks.iter().map(|network| &network.output).collect();
        let mut sums = pass.precision.gradients(scalar, &[parameters, &outputs].concat())?;
        let by_outputs = sums.split_off(parameters.len());
        for (network, by_output) in networks.into_iter().zip(by_outputs).rev() {
            network.add_gradients(
                by_output,
                &mut sums,
                parameters,
                pass.without_checkpointing(),
            )?;
        }
        Ok(sums)
    }
}

impl<'m> Network<'m> {
    /// Adds the gradients of a scalar whose gradient by this network's output is `behind`.
    fn add_gradients(
        self,
        mut behind: Tensor,
        sums: &mut [Tensor],
        parameters: &[&Tensor],
        pass: Pass<'_, 'm>,
    ) -> Result<(), TchError> {
        for (number, (segment, rows)) in self.segments.into_iter().enumerate().rev() {
            if !behind.defined() {
                break;
            }
            let rows = if number == 0 { rows } else { rows.detach().set_requires_grad(true) };
            tch::manual_seed(self.seed.wrapping_add(number as i64));
            let product = (segment(&rows, pass) * behind).sum(None);
            let by_rows = (number > 0).then_some(&rows);
            let by: Vec<&Tensor> = parameters.iter().copied().chain(by_rows).collect();
            let mut found = pass.precision.gradients(&product, &by)?;
            behind = found.split_off(parameters.len()).pop().unwrap_or_default();
            for (sum, gradient) in sums.iter_mut().zip(found) {
                // A segment has few of the parameters; a tied embedding is in two.
                if gradient.defined() {
                    *sum = if sum.defined() { &*sum + gradient } else { gradient };
                }
            }
        }
        Ok(())
    }
}

impl<'m> Pass<'_, 'm> {
    /// Computes a network's segments, one behind the other, and returns the last one's rows.
    pub(crate) fn forward(self, segments: Vec<Segment<'m>>) -> Tensor {
        match self.checkpointing {
            Some(checkpointing) => checkpointing.forward(segments, self),
            None => segments.iter().fold(Tensor::new(), |rows, segment| segment(&rows, self)),
        }
    }

    /// Returns the gradients of a scalar that this pass has computed, by tensors that take them.
    /// The gradient is an undefined tensor where the scalar does not depend on a tensor.
    ///
    /// With checkpointing this is the way to gradients: `backward` alone ends at the last segment.
    ///
    /// # Errors
    /// Fails if libtorch refuses, for want of memory.
    pub fn gradients(self, scalar: &Tensor, by: &[&Tensor]) -> Result<Vec<Tensor>, TchError> {
        match self.checkpointing {
            Some(checkpointing) => checkpointing.gradients(scalar, by, self),
            None => self.precision.gradients(scalar, by),
        }
    }

    fn without_checkpointing(self) -> Self {
        Self { checkpointing: None, ..self }
    }
}
