//! VGG-16 up to its second hidden layer, "fc7": the image features of captioners before CLIP.
//!
//! Paper: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
//! Recognition" (2015). Reference: torchvision 0.26's `vgg16`. Reads weights with torchvision's
//! names (`features.N.*`, `classifier.{0,3}.*`) or timm's (`features.N.*`,
//! `pre_logits.{fc1,fc2}.*`), as safetensors or PyTorch files, and ignores the classifier behind
//! fc7. The file determines the number of channels.

use std::path::Path;

use tch::nn::{self, Init};
use tch::{Device, Kind, TchError, Tensor};

use crate::weights::{self, Checkpoint, WeightsError};

/// Indices of the convolutions in `features`; a `ReLU` follows each.
const CONVOLUTIONS: [usize; 13] = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
/// Convolutions that a max pooling follows.
const POOLED: [usize; 5] = [2, 7, 14, 21, 28];
/// Height and width of the feature map that enters the first hidden layer.
const SIDE: i64 = 7;
/// Names of the hidden layers in torchvision's and timm's checkpoints.
const TORCHVISION: [&str; 2] = ["classifier.0", "classifier.3"];
const TIMM: [&str; 2] = ["pre_logits.fc1", "pre_logits.fc2"];

/// VGG-16 without its classifier layer.
#[derive(Debug)]
pub struct Vgg16 {
    convolutions: Vec<Layer>,
    hidden: [Layer; 2],
    checkpoint: Checkpoint,
}

#[derive(Debug)]
struct Layer {
    /// `[out, in, 3, 3]` for a convolution; `[out, in]` or timm's `[out, in, n, n]` for a hidden
    /// layer.
    weight: Tensor,
    bias: Tensor,
}

impl Vgg16 {
    /// Reads a file of weights onto `device`, converting the weights to `kind`.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or a tensor is missing, unexpected or misshapen.
    pub fn from_file(path: &Path, device: Device, kind: Kind) -> Result<Self, WeightsError> {
        let checkpoint = Checkpoint::open(path)?;
        let hidden =
            if checkpoint.shape("pre_logits.fc1.weight").is_some() { TIMM } else { TORCHVISION };
        let mut store = nn::VarStore::new(device);
        store.set_kind(kind);
        let mut convolutions = Vec::with_capacity(CONVOLUTIONS.len());
        let mut channels = 3;
        for number in CONVOLUTIONS {
            let name = format!("features.{number}");
            let outputs = outputs(&checkpoint, &name);
            convolutions.push(Layer::new(&store, &name, &[outputs, channels, 3, 3]));
            channels = outputs;
        }
        let mut inputs = channels;
        let mut side = SIDE;
        let hidden = hidden.map(|name| {
            let outputs = outputs(&checkpoint, name);
            let shape = if name.starts_with("pre_logits") {
                vec![outputs, inputs, side, side]
            } else {
                vec![outputs, inputs * side * side]
            };
            (inputs, side) = (outputs, 1);
            Layer::new(&store, name, &shape)
        });
        let is_behind = |name: &str| name.starts_with("classifier.6.") || name.starts_with("head.");
        weights::load(&mut store, &checkpoint, str::to_owned, is_behind)?;
        store.freeze();
        Ok(Self { convolutions, hidden, checkpoint })
    }

    /// Returns fc7 after its `ReLU`, `[batch, 4096]`, for pixels `[batch, 3, height, width]`.
    ///
    /// The network was trained on 224 x 224 pixels.
    ///
    /// # Errors
    /// Fails for pixels of another shape or type, or if memory is exhausted.
    pub fn encode(&self, pixels: &Tensor) -> Result<Tensor, TchError> {
        let mut states = pixels.shallow_clone();
        for (number, layer) in CONVOLUTIONS.iter().zip(&self.convolutions) {
            let Layer { weight, bias } = layer;
            states = states.f_conv2d(weight, Some(bias), [1, 1], [1, 1], [1, 1], 1)?.f_relu()?;
            if POOLED.contains(number) {
                states = states.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)?;
            }
        }
        let mut states = states.f_adaptive_avg_pool2d([SIDE, SIDE])?.f_flatten(1, -1)?;
        for Layer { weight, bias } in &self.hidden {
            states = states.f_linear(&weight.f_flatten(1, -1)?, Some(bias))?.f_relu()?;
        }
        Ok(states)
    }

    /// Returns the length of an embedding: 4096.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.hidden[1].bias.size()[0] as usize
    }

    /// Returns the SHA-256 of the weight file; see [`Checkpoint::identity`]. Reads the whole file.
    #[must_use]
    pub fn identity(&self) -> String {
        self.checkpoint.identity()
    }
}

/// Returns a layer's output size from the file; 1 if the layer is absent, which loading reports.
fn outputs(checkpoint: &Checkpoint, name: &str) -> i64 {
    let shape = checkpoint.shape(&format!("{name}.bias")).unwrap_or_default();
    shape.first().copied().unwrap_or(1)
}

impl Layer {
    fn new(store: &nn::VarStore, name: &str, shape: &[i64]) -> Self {
        let module = name.split('.').fold(store.root(), |module, part| module / part);
        // Loading overwrites the zeros.
        let zeros = Init::Const(0.0);
        Self {
            weight: module.var("weight", shape, zeros),
            bias: module.var("bias", &shape[..1], zeros),
        }
    }
}
