//! Layers of BART's encoder and decoder. Each norm follows its residual sum (post-norm).

use tch::{TchError, Tensor};

use crate::layers;
use crate::layers::{AttentionMask, Builder, LayerNorm, Linear};

const EPSILON: f64 = 1e-5;

/// Creates a linear layer that a checkpoint fills.
pub(super) fn linear(builder: &Builder, inputs: i64, outputs: i64) -> Result<Linear, TchError> {
    Linear::new(builder, inputs, outputs, 0.0)
}

/// Creates a layer norm that a checkpoint fills.
pub(super) fn norm(builder: &Builder, hidden: i64) -> Result<LayerNorm, TchError> {
    LayerNorm::new(builder, hidden, EPSILON)
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
    fn forward(
        &self,
        states: &Tensor,
        memory: &Tensor,
        visible: &AttentionMask,
    ) -> Result<Tensor, TchError> {
        self.norm.forward(&states.f_add(&self.attention.forward(states, memory, visible)?)?)
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
        builder: &Builder,
        [hidden, heads, inner]: [i64; 3],
        decodes: bool,
    ) -> Result<Self, TchError> {
        let attention = |name| Attention::new(builder, name, hidden, heads);
        Ok(Self {
            self_attn: attention("self_attn")?,
            encoder_attn: decodes.then(|| attention("encoder_attn")).transpose()?,
            fc1: linear(&builder.sub("fc1"), hidden, inner)?,
            fc2: linear(&builder.sub("fc2"), inner, hidden)?,
            norm: norm(&builder.sub("final_layer_norm"), hidden)?,
        })
    }

    /// Computes the layer; `encoded` holds the encoder's states and the mask of its real tokens.
    pub(super) fn forward(
        &self,
        states: &Tensor,
        visible: &AttentionMask,
        encoded: Option<(&Tensor, &AttentionMask)>,
    ) -> Result<Tensor, TchError> {
        let mut states = self.self_attn.forward(states, states, visible)?;
        if let (Some(attention), Some((memory, visible))) = (&self.encoder_attn, encoded) {
            states = attention.forward(&states, memory, visible)?;
        }
        let inner = self.fc1.forward(&states)?.f_gelu("none")?;
        self.norm.forward(&states.f_add(&self.fc2.forward(&inner)?)?)
    }
}
