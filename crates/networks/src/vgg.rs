//! VGG-16 up to its second hidden layer, "fc7": the image features of captioners before CLIP.
//!
//! Paper: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition"
//! (2015). Reference: torchvision 0.26's `vgg16`. Read are torchvision's weights (`features.N.*`,
//! `classifier.{0,3}.*`) and timm's (`features.N.*`, `pre_logits.{fc1,fc2}.*`), as safetensors or PyTorch's
//! own file; the layer behind fc7 is passed over. Channels are as many as the file has.

use std::path::Path;

use tch::nn::{self, Init};
use tch::{Device, Kind, TchError, Tensor};

use crate::weights::{self, Checkpoint, WeightsError};

/// Where the convolutions are among `features`; each is followed by a rectifier.
const CONVOLUTIONS: [usize; 13] = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28];
/// Those that a pooling follows.
const POOLED: [usize; 5] = [2, 7, 14, 21, 28];
/// The side of what the hidden layers see.
const SIDE: i64 = 7;
/// The hidden layers as torchvision and as timm call them.
const TORCHVISION: [&str; 2] = ["classifier.0", "classifier.3"];
const TIMM: [&str; 2] = ["pre_logits.fc1", "pre_logits.fc2"];

/// VGG-16 without its last layer.
#[derive(Debug)]
pub struct Vgg16 {
    convolutions: Vec<Layer>,
    hidden: [Layer; 2],
    checkpoint: Checkpoint,
}

#[derive(Debug)]
struct Layer {
    /// `[out, in, 3, 3]` of a convolution; of a hidden layer `[out, in]` or timm's `[out, in, n, n]`.
    weight: Tensor,
    bias: Tensor,
}

impl Vgg16 {
    /// Reads a file of weights onto `device`, converting the weights to `kind`.
    ///
    /// # Errors
    /// Names the file, and every tensor that is missing, unexpected or misshapen.
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

    /// fc7 behind its rectifier, `[batch, 4096]`, of pixels `[batch, 3, height, width]`, 224 square as it
    /// was trained.
    ///
    /// # Errors
    /// For pixels of another shape or type, or when memory is exhausted.
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

    /// Values in an embedding: 4096.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.hidden[1].bias.size()[0] as usize
    }

    /// What these weights are, whatever they are called: see [`Checkpoint::identity`]. Reads the whole
    /// file.
    #[must_use]
    pub fn identity(&self) -> String {
        self.checkpoint.identity()
    }
}

/// A layer's outputs by the file; 1 where it lacks the layer, which loading then says.
fn outputs(checkpoint: &Checkpoint, name: &str) -> i64 {
    let shape = checkpoint.shape(&format!("{name}.bias")).unwrap_or_default();
    shape.first().copied().unwrap_or(1)
}

impl Layer {
    fn new(store: &nn::VarStore, name: &str, shape: &[i64]) -> Self {
        let module = name.split('.').fold(store.root(), |module, part| module / part);
        // Values come from the file.
        let zeros = Init::Const(0.0);
        Self {
            weight: module.var("weight", shape, zeros),
            bias: module.var("bias", &shape[..1], zeros),
        }
    }
}
