//! Transformer encoder of both towers.
//!
//! Shapes: `_bth` is `[batch, tokens, hidden]`.

use tch::{TchError, Tensor};

use super::config::{Activation, EncoderConfig};
use crate::layers::{Attention, AttentionMask, Builder, LayerNorm, Linear};
use crate::packed::Fused;

/// Factor in `x * sigmoid(1.702 x)`.
const QUICK_GELU: f64 = 1.702;

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
            mlp.pack();
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
    function: Function,
}

/// Function between the two layers of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Gelu,
    QuickGelu,
    /// [`Self::QuickGelu`] with its factors in the layers: `silu(1.702 x)` is 1.702 times it.
    Silu,
}

impl Mlp {
    fn new(builder: &Builder, config: &EncoderConfig) -> Result<Self, TchError> {
        let hidden = config.hidden as f64;
        let fc1_std = (2.0 * hidden).powf(-0.5) * config.factor;
        let fc2_std = (2.0 * hidden * config.layers as f64).powf(-0.5) * config.factor;
        Ok(Self {
            fc1: Linear::new(&builder.sub("fc1"), config.hidden, config.inner, fc1_std)?,
            fc2: Linear::new(&builder.sub("fc2"), config.inner, config.hidden, fc2_std)?,
            function: match config.activation {
                Activation::Gelu => Function::Gelu,
                Activation::QuickGelu => Function::QuickGelu,
            },
        })
    }

    /// Packs the weights for inference; they must not change any more.
    fn pack(&mut self) {
        if self.function == Function::QuickGelu {
            self.fc1.scale(QUICK_GELU, QUICK_GELU);
            self.fc2.scale(1.0 / QUICK_GELU, 1.0);
            self.function = Function::Silu;
        }
        self.fc1.pack();
        self.fc2.pack();
    }

    fn forward(&self, states_bth: &Tensor) -> Result<Tensor, TchError> {
        let inner = match self.function {
            Function::Gelu => self.fc1.forward_then(states_bth, Fused::Gelu)?,
            Function::Silu => self.fc1.forward_then(states_bth, Fused::Silu)?,
            Function::QuickGelu => {
                let inner = self.fc1.forward(states_bth)?;
                inner.f_mul_scalar(QUICK_GELU)?.f_sigmoid_()?.f_mul(&inner)?
            }
        };
        self.fc2.forward(&inner)
    }
}
