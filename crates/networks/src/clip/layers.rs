//! Transformer encoder of both towers.
//!
//! Shapes: `_bth` is `[batch, tokens, hidden]`.

use tch::{TchError, Tensor};

use super::config::{Activation, EncoderConfig};
use crate::layers::{Attention, AttentionMask, Builder, LayerNorm, Linear};

impl EncoderConfig {
    /// Creates a layer norm of the encoder's width.
    pub(super) fn norm(&self, builder: &Builder) -> Result<LayerNorm, TchError> {
        LayerNorm::new(builder, self.hidden, self.eps)
    }
}

/// Stack of pre-norm transformer layers.
#[derive(Debug)]
pub(super) struct Encoder {
    layers: Vec<Layer>,
}

impl Encoder {
    pub(super) fn new(builder: &Builder, config: &EncoderConfig) -> Result<Self, TchError> {
        let builder = builder.sub("layers");
        let layer = |index| Layer::new(&builder.sub(index), config);
        Ok(Self { layers: (0..config.layers).map(layer).collect::<Result<_, _>>()? })
    }

    /// Packs the weights for inference; they must not change any more.
    pub(super) fn pack(&mut self) {
        for Layer { self_attn, mlp, .. } in &mut self.layers {
            self_attn.pack();
            mlp.fc1.pack();
            mlp.fc2.pack();
        }
    }

    /// Maps input states to the last layer's hidden states, both `[batch, tokens, hidden]`.
    pub(super) fn forward(
        &self,
        mut states_bth: Tensor,
        visible: &AttentionMask,
    ) -> Result<Tensor, TchError> {
        for layer in &self.layers {
            states_bth = layer.forward(&states_bth, visible)?;
        }
        Ok(states_bth)
    }
}

#[derive(Debug)]
struct Layer {
    attention_norm: LayerNorm,
    self_attn: Attention,
    mlp_norm: LayerNorm,
    mlp: Mlp,
}

impl Layer {
    fn new(builder: &Builder, config: &EncoderConfig) -> Result<Self, TchError> {
        let hidden = config.hidden;
        let out_std = (hidden as f64).powf(-0.5) * config.factor;
        let in_std = out_std * (2.0 * config.layers as f64).powf(-0.5);
        let stds = [in_std, out_std];
        Ok(Self {
            attention_norm: config.norm(&builder.sub("layer_norm1"))?,
            self_attn: Attention::new(&builder.sub("self_attn"), hidden, config.heads, stds)?,
            mlp_norm: config.norm(&builder.sub("layer_norm2"))?,
            mlp: Mlp::new(&builder.sub("mlp"), config)?,
        })
    }

    fn forward(&self, states_bth: &Tensor, visible: &AttentionMask) -> Result<Tensor, TchError> {
        let normed = self.attention_norm.forward(states_bth)?;
        let attended = self.self_attn.forward(&normed, &normed, visible)?;
        let states_bth = states_bth.f_add(&attended)?;
        let thought = self.mlp.forward(&self.mlp_norm.forward(&states_bth)?)?;
        states_bth.f_add(&thought)
    }
}

#[derive(Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
}

impl Mlp {
    fn new(builder: &Builder, config: &EncoderConfig) -> Result<Self, TchError> {
        let hidden = config.hidden as f64;
        let fc1_std = (2.0 * hidden).powf(-0.5) * config.factor;
        let fc2_std = (2.0 * hidden * config.layers as f64).powf(-0.5) * config.factor;
        Ok(Self {
            fc1: Linear::new(&builder.sub("fc1"), config.hidden, config.inner, fc1_std)?,
            fc2: Linear::new(&builder.sub("fc2"), config.inner, config.hidden, fc2_std)?,
            activation: config.activation,
        })
    }

    fn forward(&self, states_bth: &Tensor) -> Result<Tensor, TchError> {
        let inner = match self.activation {
            Activation::QuickGelu => {
                let inner = self.fc1.forward(states_bth)?;
                inner.f_mul_scalar(1.702)?.f_sigmoid_()?.f_mul(&inner)?
            }
            Activation::Gelu => self.fc1.forward_gelu(states_bth)?,
        };
        self.fc2.forward(&inner)
    }
}
