//! EfficientNet-Lite 0 to 4 up to its pooled features, a small image encoder.
//!
//! Paper: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"
//! (2019); the Lite variants have no squeeze-and-excitation, and `ReLU6` activations. References:
//! efficientnet-lite-pytorch 0.1.0, and timm 1.0's `tf_efficientnet_lite0` to `4`. Reads weights
//! with the names of either, as safetensors or PyTorch files, and ignores the classifier behind
//! the features. The file determines the number of channels.
//!
//! timm's `efficientnet_lite0.ra_in1k` has the same tensors as `tf_efficientnet_lite0`, but another
//! padding, epsilon and preprocessing, which no file tells. It is not supported.

mod load;
mod tuning;

use tch::{TchError, Tensor};

use crate::weights::Checkpoint;

/// EfficientNet-Lite without its classifier.
#[derive(Debug)]
pub struct EfficientNetLite {
    blocks: Vec<Block>,
    /// Index of the first block of the last stage with stride 2, from which on layers are tuned.
    first_tuned: usize,
    dimension: usize,
    size: u32,
    checkpoint: Checkpoint,
}

/// Convolutions one after the other, with a sum around them if `is_residual`.
#[derive(Debug)]
struct Block {
    layers: Vec<Layer>,
    is_residual: bool,
}

/// Convolution with its batch norm folded in.
#[derive(Debug)]
struct Layer {
    /// Names of the convolution and its batch norm in the file.
    names: [String; 2],
    /// `[out, in / groups, kernel, kernel]`.
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    groups: i64,
    /// True if `ReLU6` follows.
    is_activated: bool,
}

impl EfficientNetLite {
    /// Returns the pooled features, `[batch, 1280]`, for pixels `[batch, 3, height, width]`.
    ///
    /// # Errors
    /// Fails for pixels of another shape or type, or if memory is exhausted.
    pub fn encode(&self, pixels: &Tensor) -> Result<Tensor, TchError> {
        pooled(&forward(&self.blocks, pixels)?)
    }

    /// Returns the length of an embedding: 1280.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Returns the side of the images that the network was trained on, in pixels.
    ///
    /// Lite0 to 2 have the same size everywhere: 224, 240 and 260. Lite3 and 4 have their authors'
    /// 280 and 300 in files with the package's names, and timm's 300 and 380 in timm's files.
    #[must_use]
    pub fn image_size(&self) -> u32 {
        self.size
    }

    /// Returns the SHA-256 of the weight file; see [`Checkpoint::identity`]. Reads the whole file.
    #[must_use]
    pub fn identity(&self) -> String {
        self.checkpoint.identity()
    }
}

/// Runs blocks one after the other.
///
/// Only fresh outputs are changed in place. No gradient needs them as they were: autograd keeps a
/// copy of the values that it clamps.
fn forward(blocks: &[Block], inputs: &Tensor) -> Result<Tensor, TchError> {
    let mut states = inputs.shallow_clone();
    for Block { layers, is_residual } in blocks {
        let mut outputs = layers[0].forward(&states)?;
        for layer in &layers[1..] {
            outputs = layer.forward(&outputs)?;
        }
        states = if *is_residual { outputs.f_add_(&states)? } else { outputs };
    }
    Ok(states)
}

/// Returns the means over rows and columns of `[batch, channels, rows, columns]`.
fn pooled(states: &Tensor) -> Result<Tensor, TchError> {
    states.f_mean_dim([2i64, 3].as_slice(), false, states.kind())
}

impl Layer {
    fn forward(&self, states: &Tensor) -> Result<Tensor, TchError> {
        let Self { weight, bias, stride, groups, is_activated, .. } = self;
        let kernel = weight.size()[2];
        // TensorFlow's SAME padding: an odd number has one more at the bottom and the right.
        let padding = |length: i64| {
            let outputs = (length + stride - 1) / stride;
            ((outputs - 1) * stride + kernel - length).max(0)
        };
        let size = states.size();
        let (rows, columns) = (padding(size[2]), padding(size[3]));
        let (top, left) = (rows / 2, columns / 2);
        let convolve = |states: &Tensor, padding: [i64; 2]| {
            states.f_conv2d(weight, Some(bias), [*stride; 2], padding, [1, 1], *groups)
        };
        let mut outputs = if (rows, columns) == (2 * top, 2 * left) {
            convolve(states, [top, left])?
        } else {
            let sides = [left, columns - left, top, rows - top];
            convolve(&states.f_constant_pad_nd(sides)?, [0, 0])?
        };
        if *is_activated { outputs.f_clamp_(0.0, 6.0) } else { Ok(outputs) }
    }
}
