//! Standardisation of image embeddings by statistics of the training images.

use tch::{Kind, Tensor};

use crate::layers::Builder;

/// Module of a network's statistics, beside the modules of its published layout.
pub const STANDARDIZATION: &str = "standardization";

/// Least standard deviation of a value, as a part of the mean standard deviation of all.
const LEAST_DEVIATION: f64 = 1e-2;

/// Mean and standard deviation of each value of an embedding, both `[dimension]`.
#[derive(Debug)]
pub struct Standardization {
    mean: Tensor,
    deviation: Tensor,
}

impl Standardization {
    /// Returns the statistics of `rows` `[images, dimension]`.
    ///
    /// A value that hardly varies gets a hundredth of the mean standard deviation; its own would
    /// make it huge in an image where it does vary.
    ///
    /// # Panics
    /// Panics if memory is exhausted.
    #[must_use]
    pub fn of(rows: &Tensor) -> Self {
        let deviation = rows.std_dim([0_i64].as_slice(), false, false);
        let least = LEAST_DEVIATION * deviation.mean(Kind::Float).double_value(&[]);
        Self {
            mean: rows.mean_dim([0_i64].as_slice(), false, Kind::Float),
            deviation: deviation.clamp_min(least.max(f64::from(f32::MIN_POSITIVE))),
        }
    }

    /// Returns statistics that were computed before.
    #[must_use]
    pub fn new(mean: Tensor, deviation: Tensor) -> Self {
        Self { mean, deviation }
    }

    /// Adds the untrained variables `mean` of 0 and `deviation` of 1, which change nothing.
    pub(crate) fn variables(module: &Builder, dimension: i64) -> Self {
        Self {
            mean: module.untrained("mean", dimension, 0.0),
            deviation: module.untrained("deviation", dimension, 1.0),
        }
    }

    /// Copies the statistics of `other`, of the same size, into these tensors.
    ///
    /// # Panics
    /// Panics if the sizes differ.
    pub fn set(&self, other: &Self) {
        tch::no_grad(|| {
            self.mean.shallow_clone().copy_(&other.mean);
            self.deviation.shallow_clone().copy_(&other.deviation);
        });
    }

    /// Standardises embeddings: `[rows, dimension]` in and out.
    ///
    /// # Panics
    /// Panics if memory is exhausted.
    pub fn apply(&self, rows: &Tensor) -> Tensor {
        (rows - &self.mean) / &self.deviation
    }

    /// Returns embeddings standardised by `statistics`, or as they are without them.
    pub(crate) fn apply_any(statistics: Option<&Self>, rows: &Tensor) -> Tensor {
        statistics.map_or_else(|| rows.shallow_clone(), |statistics| statistics.apply(rows))
    }

    /// Changes a linear layer on standardised embeddings, in place, to the same one on raw ones.
    ///
    /// `weight` is `[outputs, dimension]`, `bias` `[outputs]`.
    ///
    /// # Panics
    /// Panics if the sizes differ.
    pub fn fold_into(&self, weight: &Tensor, bias: &Tensor) {
        tch::no_grad(|| {
            let _ = weight.shallow_clone().divide_(&self.deviation);
            let _ = bias.shallow_clone().subtract_(&weight.mv(&self.mean));
        });
    }
}
