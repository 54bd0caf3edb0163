//! Merge-RNN: an LSTM that reads words, and a picture beside it or inside it.
//!
//! Paper: Tanti, Gatt and Camilleri, "Where to put the Image in an Image Caption Generator" (arXiv
//! 1703.09137), whose code is in TensorFlow. Word embedding, LSTM and projected picture have one
//! size, the layer size. No dropout. Variables:
//!
//! | name | shape | |
//! | --- | --- | --- |
//! | `word_embedding.weight` | `[vocab, size]` | |
//! | `lstm.weight_ih`, `lstm.weight_hh` | `[4 size, inputs]`, `[4 size, size]` | PyTorch's order of gates: input, forget, cell, output; together TensorFlow's kernel, transposed |
//! | `lstm.bias` | `[4 size]` | without the 1 that is added to the forget gate |
//! | `image.weight`, `image.bias` | `[size, image_dim]`, `[size]` | |
//! | `softmax.weight`, `softmax.bias` | `[vocab, states]`, `[vocab]` | |
//!
//! `inputs` is `size`, with `inject` twice that: the word and the picture. `states` is twice `size` with
//! `merge`: the LSTM's output and the picture.

mod batch;
mod beam;

use std::borrow::Borrow;

use tch::nn::{self, Init};
use tch::{Device, Kind, Reduction, Tensor};

pub use batch::WordBatch;
pub use beam::{Sentence, beam_search};
pub use recipes::Architecture;

use crate::layers::{Builder, Initial};

/// The number that begins and ends a caption.
pub const EDGE: i64 = 0;
/// The number of words that are not known; never written.
pub const UNKNOWN: i64 = 1;

/// A network's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeRnnConfig {
    /// Where the picture goes.
    pub architecture: Architecture,
    /// Words, and the two numbers that are none.
    pub vocab_size: i64,
    /// Size of word embeddings, of the LSTM and of the projected picture.
    pub layer_size: i64,
    /// Values in an image embedding.
    pub image_dim: i64,
}

/// A recurrent captioner.
#[derive(Debug)]
pub struct MergeRnn {
    architecture: Architecture,
    layer_size: i64,
    word_embedding: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    /// 1 for forget gates, 0 for all others; not trained.
    forget_bias: Tensor,
    image: Linear,
    softmax: Linear,
}

/// An LSTM's hidden and cell states, each `[rows, size]`.
struct State {
    hidden: Tensor,
    cell: Tensor,
}

impl MergeRnn {
    /// Adds a network's variables under `module`: weights as Glorot and Bengio draw them, uniform over
    /// +-sqrt(6 / (inputs + outputs)), with the LSTM's weights as one matrix as in TensorFlow; biases
    /// 0.
    ///
    /// # Panics
    /// When a size is not above 0, or memory is exhausted.
    #[must_use]
    pub fn new<'a>(module: impl Borrow<nn::Path<'a>>, config: &MergeRnnConfig) -> Self {
        Self::with_initial(module, config, Initial::Random)
    }

    /// Adds a network's variables as [`Self::new`], with other initial values.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn with_initial<'a>(
        module: impl Borrow<nn::Path<'a>>,
        config: &MergeRnnConfig,
        initial: Initial,
    ) -> Self {
        let module = Builder::new(module.borrow().clone(), initial);
        let MergeRnnConfig { architecture, vocab_size, layer_size: size, image_dim } = *config;
        let (inputs, states) = match architecture {
            Architecture::Merge => (size, 2 * size),
            Architecture::Inject => (2 * size, size),
        };
        let lstm = module.sub("lstm");
        let kernel = glorot(inputs + size, 4 * size);
        let forget_bias = Tensor::zeros([4 * size], (Kind::Float, module.device()));
        let _ = forget_bias.narrow(0, size, size).fill_(1.0);
        Self {
            architecture,
            layer_size: size,
            word_embedding: module.sub("word_embedding").var(
                "weight",
                &[vocab_size, size],
                glorot(vocab_size, size),
            ),
            weight_ih: lstm.var("weight_ih", &[4 * size, inputs], kernel),
            weight_hh: lstm.var("weight_hh", &[4 * size, size], kernel),
            bias: lstm.var("bias", &[4 * size], Init::Const(0.0)),
            forget_bias,
            image: Linear::new(&module.sub("image"), image_dim, size),
            softmax: Linear::new(&module.sub("softmax"), states, vocab_size),
        }
    }

    /// The training loss, a scalar: the sum over the batch's words and ends of captions of the cross
    /// entropy of each, given the picture and the words before it.
    ///
    /// `images` `[images, image_dim]` are the embeddings of which `batch` names the rows.
    ///
    /// # Panics
    /// When a number is not below `vocab_size`, or an image has no embedding.
    pub fn loss(&self, images: &Tensor, batch: &WordBatch) -> Tensor {
        let captions = batch.inputs().size()[0];
        let pictures = self.image.forward(&images.index_select(0, batch.images()));
        let inputs = self.inputs(batch.inputs(), &pictures);
        let (outputs, _) = self.read(&inputs, &self.start(captions));
        let outputs = outputs.flatten(0, 1).index_select(0, batch.predictors());
        let pictures = pictures.index_select(0, batch.captions());
        let logits = self.logits(&outputs, &pictures);
        logits.cross_entropy_loss::<Tensor>(batch.targets_ids(), None, Reduction::Sum, -100, 0.0)
    }

    /// What the LSTM reads `[rows, words, inputs]`, of word numbers `[rows, words]` and projected
    /// pictures `[rows, size]`.
    fn inputs(&self, words: &Tensor, pictures: &Tensor) -> Tensor {
        let words = Tensor::embedding(&self.word_embedding, words, -1, false, false);
        match self.architecture {
            Architecture::Merge => words,
            Architecture::Inject => {
                let pictures = pictures.unsqueeze(1).expand_as(&words);
                Tensor::cat(&[words, pictures], 2)
            }
        }
    }

    /// Outputs `[rows, words, size]` and the states behind them.
    fn read(&self, inputs: &Tensor, state: &State) -> (Tensor, State) {
        let before = [state.hidden.unsqueeze(0), state.cell.unsqueeze(0)];
        let weights = [&self.weight_ih, &self.weight_hh, &self.bias, &self.forget_bias];
        let weights = weights.map(Tensor::shallow_clone);
        let (outputs, hidden, cell) =
            inputs.lstm(&before, &weights, true, 1, 0.0, true, false, true);
        (outputs, State { hidden: hidden.squeeze_dim(0), cell: cell.squeeze_dim(0) })
    }

    /// Logits `[rows, vocab]` of LSTM outputs and projected pictures, both `[rows, size]`.
    fn logits(&self, outputs: &Tensor, pictures: &Tensor) -> Tensor {
        match self.architecture {
            Architecture::Merge => self.softmax.forward(&Tensor::cat(&[outputs, pictures], 1)),
            Architecture::Inject => self.softmax.forward(outputs),
        }
    }

    fn start(&self, rows: i64) -> State {
        let zeros = || Tensor::zeros([rows, self.layer_size], (Kind::Float, self.device()));
        State { hidden: zeros(), cell: zeros() }
    }

    fn device(&self) -> Device {
        self.bias.device()
    }
}

#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(module: &Builder, inputs: i64, outputs: i64) -> Self {
        Self {
            weight: module.var("weight", &[outputs, inputs], glorot(inputs, outputs)),
            bias: module.var("bias", &[outputs], Init::Const(0.0)),
        }
    }

    fn forward(&self, inputs: &Tensor) -> Tensor {
        inputs.linear(&self.weight, Some(&self.bias))
    }
}

fn glorot(inputs: i64, outputs: i64) -> Init {
    let limit = (6.0 / (inputs + outputs) as f64).sqrt();
    Init::Uniform { lo: -limit, up: limit }
}
