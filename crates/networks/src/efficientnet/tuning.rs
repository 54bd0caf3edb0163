//! Training EfficientNet-Lite's last stages, and writing its weights.
//!
//! The tuned layers are those whose outputs have a 32nd of the image's sides: the last two stages
//! and the head. A layer's weight and bias are those after folding, so that the statistics of its
//! batch norm stay as they are.

use std::path::Path;

use tch::{Kind, TchError, Tensor};

use super::load::EPSILON;
use super::{EfficientNetLite, Layer, forward, pooled};
use crate::weights::{self, WeightsError};

impl EfficientNetLite {
    /// Returns the inputs of the tuned layers, `[batch, channels, height / 16, width / 16]`, for
    /// pixels `[batch, 3, height, width]`. No gradient passes through them.
    ///
    /// # Errors
    /// Fails for pixels of another shape or type, or if memory is exhausted.
    pub fn encode_fixed(&self, pixels: &Tensor) -> Result<Tensor, TchError> {
        tch::no_grad(|| forward(&self.blocks[..self.first_tuned], pixels))
    }

    /// Returns the pooled features, `[batch, 1280]`, for outputs of [`Self::encode_fixed`].
    ///
    /// # Errors
    /// Same as [`Self::encode_fixed`].
    pub fn encode_tuned(&self, states: &Tensor) -> Result<Tensor, TchError> {
        pooled(&forward(&self.blocks[self.first_tuned..], states)?)
    }

    /// Makes the tuned layers require gradients; returns their weights and biases with names.
    ///
    /// # Errors
    /// Fails if libtorch reports an error.
    pub fn tune(&mut self) -> Result<Vec<(String, Tensor)>, TchError> {
        let mut parameters = Vec::new();
        for layer in self.blocks[self.first_tuned..].iter().flat_map(|block| &block.layers) {
            for (name, tensor) in [("weight", &layer.weight), ("bias", &layer.bias)] {
                let tensor = tensor.f_set_requires_grad(true)?;
                parameters.push((format!("{}.{name}", layer.names[0]), tensor));
            }
        }
        Ok(parameters)
    }

    /// Writes the weights to a safetensors file, with the names of the file that they came from.
    ///
    /// Batch norms are written as identities: reading the file gives the same features to the bit
    /// if the weights are f32. The classifier is left out.
    ///
    /// # Errors
    /// Same as [`weights::save`].
    pub fn save(&self, path: &Path) -> Result<(), WeightsError> {
        let layers = self.blocks.iter().flat_map(|block| &block.layers);
        let tensors: Vec<(String, Tensor)> = layers.flat_map(Layer::unfolded).collect();
        weights::write_tensors(path, &tensors)
    }
}

impl Layer {
    /// Returns the tensors of the convolution and of a batch norm that adds the bias, by name.
    fn unfolded(&self) -> [(String, Tensor); 5] {
        let [convolution, norm] = &self.names;
        let bias = self.bias.detach();
        // The sum of this and epsilon rounds to 1 in f32, and that of its neighbours does not.
        let variance = (1.0 - EPSILON as f32).next_down();
        let full = |value: f64| bias.full_like(value).to_kind(Kind::Float);
        [
            (format!("{convolution}.weight"), self.weight.detach()),
            (format!("{norm}.weight"), full(1.0)),
            (format!("{norm}.running_mean"), full(0.0)),
            (format!("{norm}.running_var"), full(f64::from(variance))),
            (format!("{norm}.bias"), bias),
        ]
    }
}
