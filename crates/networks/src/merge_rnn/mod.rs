//! Merge-RNN: an LSTM language model that merges in, or injects, the image embedding.
//!
//! Paper: Tanti, Gatt and Camilleri, "Where to put the Image in an Image Caption Generator" (arXiv
//! 1703.09137), whose code uses TensorFlow. Word embedding, LSTM and projected image have the same
//! size, the layer size. The paper has no dropout. Variables:
//!
//! | name | shape | |
//! | --- | --- | --- |
//! | `word_embedding.weight` | `[vocab, size]` | |
//! | `lstm.weight_ih`, `lstm.weight_hh` | `[4 size, inputs]`, `[4 size, size]` | PyTorch's order of gates: input, forget, cell, output; together TensorFlow's kernel, transposed |
//! | `lstm.bias` | `[4 size]` | without the 1 that is added to the forget gate |
//! | `image.weight`, `image.bias` | `[size, image_dim]`, `[size]` | |
//! | `softmax.weight`, `softmax.bias` | `[vocab, states]`, `[vocab]` | |
//! | `standardization.mean`, `standardization.deviation` | `[image_dim]` each | only with `standardize`; not trained |
//!
//! `inputs` is `size`, or with `inject` `2 size`: word and image. `states` is `size`, or with
//! `merge` `2 size`: the LSTM's output and the image.

mod batch;
mod beam;

use std::borrow::Borrow;

use tch::nn::{self, Init};
use tch::{Cuda, Device, Kind, Reduction, Tensor};

pub use batch::{EDGE, UNKNOWN, WordBatch};
pub use beam::{Sentence, beam_search};
pub use recipes::Architecture;

use crate::layers::{Builder, InitialWeights};
use crate::pass::Pass;
use crate::standardization::{STANDARDIZATION, Standardization};

/// Settings of a Merge-RNN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MergeRnnConfig {
    /// Point at which the image enters.
    pub architecture: Architecture,
    /// Number of words, plus the edge and the unknown word.
    pub vocab_size: i64,
    /// Size of word embeddings, LSTM and projected image.
    pub layer_size: i64,
    /// Length of an image embedding.
    pub image_dim: i64,
    /// Dropout probability of the image embedding, the word embeddings and the states before the
    /// softmax.
    pub dropout: f64,
    /// Standardises image embeddings first.
    pub standardize: bool,
}

impl MergeRnnConfig {
    /// Returns a network without dropout and standardisation.
    #[must_use]
    pub const fn plain(
        architecture: Architecture,
        vocab_size: i64,
        layer_size: i64,
        image_dim: i64,
    ) -> Self {
        let (dropout, standardize) = (0.0, false);
        Self { architecture, vocab_size, layer_size, image_dim, dropout, standardize }
    }
}

/// Recurrent captioner.
#[derive(Debug)]
pub struct MergeRnn {
    architecture: Architecture,
    layer_size: i64,
    dropout: f64,
    standardization: Option<Standardization>,
    word_embedding: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    /// 1 for forget gates, 0 for the others; not trained.
    forget_bias: Tensor,
    image: Linear,
    softmax: Linear,
}

/// Hidden and cell state of the LSTM, `[rows, size]` each.
struct State {
    hidden: Tensor,
    cell: Tensor,
}

impl MergeRnn {
    /// Adds a network's variables under `module`.
    ///
    /// Weights are Glorot-uniform, within `sqrt(6 / (inputs + outputs))`, where the LSTM's weights
    /// count as one matrix as in TensorFlow. Biases are 0.
    ///
    /// # Panics
    /// Panics if a size is below 1, or memory is exhausted.
    #[must_use]
    pub fn new<'a>(module: impl Borrow<nn::Path<'a>>, config: &MergeRnnConfig) -> Self {
        Self::with_initial(module, config, InitialWeights::Random)
    }

    /// Adds a network's variables as [`Self::new`] does, with other initial values.
    ///
    /// # Panics
    /// Same as [`Self::new`].
    #[must_use]
    pub fn with_initial<'a>(
        module: impl Borrow<nn::Path<'a>>,
        config: &MergeRnnConfig,
        initial: InitialWeights,
    ) -> Self {
        let module = Builder::new(module.borrow().clone(), initial);
        let MergeRnnConfig { architecture, vocab_size, layer_size: size, image_dim, .. } = *config;
        let (inputs, states) = match architecture {
            Architecture::Merge => (size, 2 * size),
            Architecture::Inject => (2 * size, size),
        };
        let standardization =
            || Standardization::variables(&module.sub(STANDARDIZATION), image_dim);
        let lstm = module.sub("lstm");
        let kernel = glorot(inputs + size, 4 * size);
        let forget_bias = Tensor::zeros([4 * size], (Kind::Float, module.device()));
        let _ = forget_bias.narrow(0, size, size).fill_(1.0);
        let word_embedding = module.sub("word_embedding").var(
            "weight",
            &[vocab_size, size],
            glorot(vocab_size, size),
        );
        let weight_ih = lstm.var("weight_ih", &[4 * size, inputs], kernel);
        let weight_hh = lstm.var("weight_hh", &[4 * size, size], kernel);
        let bias = lstm.var("bias", &[4 * size], Init::Const(0.0));
        share_memory(&[&weight_ih, &weight_hh, &bias, &forget_bias], inputs, size);
        Self {
            architecture,
            layer_size: size,
            dropout: config.dropout,
            standardization: config.standardize.then(standardization),
            word_embedding,
            weight_ih,
            weight_hh,
            bias,
            forget_bias,
            image: Linear::new(&module.sub("image"), image_dim, size),
            softmax: Linear::new(&module.sub("softmax"), states, vocab_size),
        }
    }

    /// Returns the training loss, a scalar: the cross entropy summed over words and caption ends.
    ///
    /// `images` `[images, image_dim]` holds the rows that `batch` refers to.
    ///
    /// # Panics
    /// Panics if an id is not below `vocab_size`, or an image has no embedding.
    pub fn loss(&self, images: &Tensor, batch: &WordBatch, pass: Pass) -> Tensor {
        let captions = batch.inputs.size()[0];
        let images = self.project(&images.index_select(0, &batch.images), pass);
        let inputs = self.inputs(&batch.inputs, &images, pass);
        let (outputs, _) = self.run_lstm(&inputs, &self.initial_state(captions));
        let outputs = outputs.flatten(0, 1).index_select(0, &batch.predictors);
        let images = images.index_select(0, &batch.captions);
        let logits = self.logits(&outputs, &images, pass);
        logits.cross_entropy_loss::<Tensor>(&batch.target_ids, None, Reduction::Sum, -100, 0.0)
    }

    /// Returns the statistics that image embeddings are standardised by, if they are.
    #[must_use]
    pub fn standardization(&self) -> Option<&Standardization> {
        self.standardization.as_ref()
    }

    /// Returns projected images `[images, size]` for embeddings `[images, image_dim]`.
    fn project(&self, images: &Tensor, pass: Pass) -> Tensor {
        let images = Standardization::apply_any(self.standardization(), images);
        self.image.forward(&pass.drop_values(images, self.dropout))
    }

    /// Returns the LSTM's inputs `[rows, words, inputs]` for word ids `[rows, words]` and projected
    /// images `[rows, size]`.
    fn inputs(&self, words: &Tensor, images: &Tensor, pass: Pass) -> Tensor {
        let words = Tensor::embedding(&self.word_embedding, words, -1, false, false);
        let words = pass.drop_values(words, self.dropout);
        match self.architecture {
            Architecture::Merge => words,
            Architecture::Inject => {
                let images = images.unsqueeze(1).expand_as(&words);
                Tensor::cat(&[words, images], 2)
            }
        }
    }

    /// Runs the LSTM; returns its outputs `[rows, words, size]` and final state.
    fn run_lstm(&self, inputs: &Tensor, state: &State) -> (Tensor, State) {
        let before = [state.hidden.unsqueeze(0), state.cell.unsqueeze(0)];
        let weights = [&self.weight_ih, &self.weight_hh, &self.bias, &self.forget_bias];
        let weights = weights.map(Tensor::shallow_clone);
        let (outputs, hidden, cell) =
            inputs.lstm(&before, &weights, true, 1, 0.0, true, false, true);
        (outputs, State { hidden: hidden.squeeze_dim(0), cell: cell.squeeze_dim(0) })
    }

    /// Returns logits `[rows, vocab]` for LSTM outputs and projected images, both `[rows, size]`.
    fn logits(&self, outputs: &Tensor, images: &Tensor, pass: Pass) -> Tensor {
        let states = match self.architecture {
            Architecture::Merge => Tensor::cat(&[outputs, images], 1),
            Architecture::Inject => outputs.shallow_clone(),
        };
        self.softmax.forward(&pass.drop_values(states, self.dropout))
    }

    fn initial_state(&self, rows: i64) -> State {
        let zeros = || Tensor::zeros([rows, self.layer_size], (Kind::Float, self.device()));
        State { hidden: zeros(), cell: zeros() }
    }

    fn device(&self) -> Device {
        self.bias.device()
    }
}

/// Moves an LSTM's weights into one piece of memory, as cuDNN wants them; it would copy them at
/// each call otherwise. Does nothing without cuDNN.
fn share_memory(weights: &[&Tensor; 4], inputs: i64, size: i64) {
    const LSTM: i64 = 2;
    if weights[0].device().is_cuda() && Cuda::cudnn_is_available() {
        let _ = tch::no_grad(|| {
            Tensor::internal_cudnn_rnn_flatten_weight(
                weights, 4, inputs, LSTM, size, 0, 1, true, false,
            )
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_is_of_images_words_and_states() {
        let rows: [&[i64]; 2] = [&[3, 4, 5], &[6]];
        let batch = WordBatch::new(&rows, &[1, 0], Device::Cpu);
        let images = Tensor::arange(8, (Kind::Float, Device::Cpu)).view([2, 4]) / 8.0;
        for architecture in [Architecture::Merge, Architecture::Inject] {
            let config = MergeRnnConfig {
                architecture,
                vocab_size: 9,
                layer_size: 16,
                image_dim: 4,
                dropout: 0.5,
                standardize: false,
            };
            let store = nn::VarStore::new(Device::Cpu);
            let network = MergeRnn::new(store.root(), &config);
            let loss = |pass| {
                tch::manual_seed(3);
                network.loss(&images, &batch, pass)
            };
            let expected = || {
                tch::manual_seed(3);
                let dropped = |values: Tensor| values.dropout(0.5, true);
                let image = network.image.forward(&dropped(images.index_select(0, &batch.images)));
                let words = &network.word_embedding;
                let words = dropped(Tensor::embedding(words, &batch.inputs, -1, false, false));
                let inputs = match architecture {
                    Architecture::Merge => words,
                    Architecture::Inject => {
                        Tensor::cat(&[&words, &image.unsqueeze(1).expand_as(&words)], 2)
                    }
                };
                let (outputs, _) = network.run_lstm(&inputs, &network.initial_state(2));
                let outputs = outputs.flatten(0, 1).index_select(0, &batch.predictors);
                let states = match architecture {
                    Architecture::Merge => {
                        Tensor::cat(&[outputs, image.index_select(0, &batch.captions)], 1)
                    }
                    Architecture::Inject => outputs,
                };
                let logits = network.softmax.forward(&dropped(states));
                let ids = &batch.target_ids;
                logits.cross_entropy_loss::<Tensor>(ids, None, Reduction::Sum, -100, 0.0)
            };
            // Tests beside this one draw from the same generator at times.
            assert!((0..100).any(|_| loss(Pass::TRAINING) == expected()), "{architecture:?}");
            assert_ne!(loss(Pass::EVALUATION), expected(), "{architecture:?}");
        }
    }
}
