//! Layers of BART's encoder and decoder. Each norm follows its residual sum (post-norm).

use tch::{TchError, Tensor};

use crate::layers;
use crate::layers::{Builder, LayerNorm, Linear, Visible};

const EPSILON: f64 = 1e-5;

/// Creates a linear layer that a checkpoint fills.
pub(super) fn linear(at: &Builder, inputs: i64, outputs: i64) -> Result<Linear, TchError> {
    Linear::new(at, inputs, outputs, 0.0)
}

/// Creates a layer norm that a checkpoint fills.
pub(super) fn norm(at: &Builder, hidden: i64) -> Result<LayerNorm, TchError> {
    LayerNorm::new(at, hidden, EPSILON)
}

/// Attention followed by a layer norm.
#[derive(Debug)]
struct Attention {
    attention: layers::Attention,
    norm: LayerNorm,
}

impl Attention {
    fn new(layer: &Builder, name: &str, hidden: i64, heads: i64) -> Result<Self, TchError> {
        Ok(Self {
            attention: layers::Attention::new(&layer.sub(name), hidden, heads, [0.0; 2])?,
            norm: norm(&layer.sub(format!("{name}_layer_norm")), hidden)?,
        })
    }

    /// Returns the layer norm of `states` plus their attention to `memory`.
    fn forward(&self, states: &Tensor, memory: &Tensor, see: &Visible) -> Result<Tensor, TchError> {
        self.norm.forward(&states.f_add(&self.attention.forward(states, memory, see)?)?)
    }
}

/// Layer of the encoder, or of the decoder, which also attends to the encoder's states.
#[derive(Debug)]
pub(super) struct Layer {
    self_attn: Attention,
    encoder_attn: Option<Attention>,
    fc1: Linear,
    fc2: Linear,
    norm: LayerNorm,
}

impl Layer {
    pub(super) fn new(
        at: &Builder,
        [hidden, heads, inner]: [i64; 3],
        decodes: bool,
    ) -> Result<Self, TchError> {
        let attention = |name| Attention::new(at, name, hidden, heads);
        Ok(Self {
            self_attn: attention("self_attn")?,
            encoder_attn: decodes.then(|| attention("encoder_attn")).transpose()?,
            fc1: linear(&at.sub("fc1"), hidden, inner)?,
            fc2: linear(&at.sub("fc2"), inner, hidden)?,
            norm: norm(&at.sub("final_layer_norm"), hidden)?,
        })
    }

    /// Computes the layer; `encoded` holds the encoder's states and the mask of its real tokens.
    pub(super) fn forward(
        &self,
        states: &Tensor,
        see: &Visible,
        encoded: Option<(&Tensor, &Visible)>,
    ) -> Result<Tensor, TchError> {
        let mut states = self.self_attn.forward(states, states, see)?;
        if let (Some(attention), Some((memory, see))) = (&self.encoder_attn, encoded) {
            states = attention.forward(&states, memory, see)?;
        }
        let inner = self.fc1.forward(&states)?.f_gelu("none")?;
        self.norm.forward(&states.f_add(&self.fc2.forward(&inner)?)?)
    }
}
