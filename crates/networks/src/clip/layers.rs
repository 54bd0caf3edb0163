//! What both towers are made of: variables, linear maps, norms, and the transformer encoder.
//!
//! Shapes: `_bth` is `[batch, tokens, hidden]`, `_bhtd` is `[batch, heads, tokens, head_dim]`.

use tch::nn::{self, Init};
use tch::{TchError, Tensor};

use super::config::{Activation, EncoderConfig};

/// Where a module's variables go, and what they begin as.
pub(super) struct Builder<'a> {
    path: nn::Path<'a>,
    /// Whether variables begin as transformers' initial weights; otherwise as zeros, to be filled
    /// from a file, which spares the time and the random numbers.
    random: bool,
}

impl<'a> Builder<'a> {
    pub(super) fn new(path: nn::Path<'a>, random: bool) -> Self {
        Self { path, random }
    }

    pub(super) fn sub(&self, name: impl ToString) -> Self {
        Self { path: self.path.sub(name), random: self.random }
    }

    pub(super) fn normal(&self, name: &str, shape: &[i64], std: f64) -> Result<Tensor, TchError> {
        let random = Init::Randn { mean: 0.0, stdev: std };
        self.path.f_var(name, shape, if self.random { random } else { Init::Const(0.0) })
    }

    pub(super) fn constant(
        &self,
        name: &str,
        shape: &[i64],
        value: f64,
    ) -> Result<Tensor, TchError> {
        self.path.f_var(name, shape, Init::Const(value))
    }
}

/// `x W^T + b`.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// A map from `input` to `output` values with weights of deviation `std` and a zero bias.
    fn new(at: &Builder, input: i64, output: i64, std: f64) -> Result<Self, TchError> {
        Ok(Self {
            bias: Some(at.constant("bias", &[output], 0.0)?),
            ..Self::unbiased(at, input, output, std)?
        })
    }

    pub(super) fn unbiased(
        at: &Builder,
        input: i64,
        output: i64,
        std: f64,
    ) -> Result<Self, TchError> {
        Ok(Self { weight: at.normal("weight", &[output, input], std)?, bias: None })
    }

    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        input.f_linear(&self.weight, self.bias.as_ref())
    }
}

/// Layer normalisation; libtorch computes mean and variance in f32 for f16 and bf16 too.
#[derive(Debug)]
pub(super) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    pub(super) fn new(at: &Builder, config: &EncoderConfig) -> Result<Self, TchError> {
        let shape = [config.hidden];
        Ok(Self {
            weight: at.constant("weight", &shape, 1.0)?,
            bias: at.constant("bias", &shape, 0.0)?,
            eps: config.eps,
        })
    }

    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        input.f_layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), self.eps, true)
    }
}

/// Which tokens a token may attend to.
pub(super) enum Visible {
    /// Every one.
    All,
    /// Itself and those before it.
    Causal,
    /// Those with true in `[batch, 1, tokens, tokens]`.
    Only(Tensor),
}

/// A stack of transformer layers, each normalising first.
#[derive(Debug)]
pub(super) struct Encoder {
    layers: Vec<Layer>,
}

impl Encoder {
    pub(super) fn new(at: &Builder, config: &EncoderConfig) -> Result<Self, TchError> {
        let at = at.sub("layers");
        let layer = |index| Layer::new(&at.sub(index), config);
        Ok(Self { layers: (0..config.layers).map(layer).collect::<Result<_, _>>()? })
    }

    /// Hidden states of the last layer, from those at its beginning; both
    /// `[batch, tokens, hidden]`.
    pub(super) fn forward(
        &self,
        mut states_bth: Tensor,
        see: &Visible,
    ) -> Result<Tensor, TchError> {
        for layer in &self.layers {
            states_bth = layer.forward(&states_bth, see)?;
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
    fn new(at: &Builder, config: &EncoderConfig) -> Result<Self, TchError> {
        Ok(Self {
            attention_norm: LayerNorm::new(&at.sub("layer_norm1"), config)?,
            self_attn: Attention::new(&at.sub("self_attn"), config)?,
            mlp_norm: LayerNorm::new(&at.sub("layer_norm2"), config)?,
            mlp: Mlp::new(&at.sub("mlp"), config)?,
        })
    }

    fn forward(&self, states_bth: &Tensor, see: &Visible) -> Result<Tensor, TchError> {
        let attended = self.self_attn.forward(&self.attention_norm.forward(states_bth)?, see)?;
        let states_bth = states_bth.f_add(&attended)?;
        let thought = self.mlp.forward(&self.mlp_norm.forward(&states_bth)?)?;
        states_bth.f_add(&thought)
    }
}

#[derive(Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: i64,
}

impl Attention {
    fn new(at: &Builder, config: &EncoderConfig) -> Result<Self, TchError> {
        let hidden = config.hidden;
        let out_std = (hidden as f64).powf(-0.5) * config.factor;
        let in_std = out_std * (2.0 * config.layers as f64).powf(-0.5);
        let linear = |name, std| Linear::new(&at.sub(name), hidden, hidden, std);
        Ok(Self {
            q_proj: linear("q_proj", in_std)?,
            k_proj: linear("k_proj", in_std)?,
            v_proj: linear("v_proj", in_std)?,
            out_proj: linear("out_proj", out_std)?,
            heads: config.heads,
        })
    }

    fn forward(&self, states_bth: &Tensor, see: &Visible) -> Result<Tensor, TchError> {
        let (batch, tokens, hidden) = states_bth.size3()?;
        let split = |projection: &Linear| {
            projection
                .forward(states_bth)?
                .f_view([batch, tokens, self.heads, hidden / self.heads])?
                .f_transpose(1, 2)
        };
        let (mask, causal) = match see {
            Visible::All => (None, false),
            Visible::Causal => (None, true),
            Visible::Only(mask) => (Some(mask), false),
        };
        let attended_bhtd = Tensor::f_scaled_dot_product_attention(
            &split(&self.q_proj)?,
            &split(&self.k_proj)?,
            &split(&self.v_proj)?,
            mask,
            0.0,
            causal,
            None,
            false,
        )?;
        let attended_bth = attended_bhtd.f_transpose(1, 2)?.f_reshape([batch, tokens, hidden])?;
        self.out_proj.forward(&attended_bth)
    }
}

#[derive(Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
}

impl Mlp {
    fn new(at: &Builder, config: &EncoderConfig) -> Result<Self, TchError> {
        let hidden = config.hidden as f64;
        let fc1_std = (2.0 * hidden).powf(-0.5) * config.factor;
        let fc2_std = (2.0 * hidden * config.layers as f64).powf(-0.5) * config.factor;
        Ok(Self {
            fc1: Linear::new(&at.sub("fc1"), config.hidden, config.inner, fc1_std)?,
            fc2: Linear::new(&at.sub("fc2"), config.inner, config.hidden, fc2_std)?,
            activation: config.activation,
        })
    }

    fn forward(&self, states_bth: &Tensor) -> Result<Tensor, TchError> {
        let inner = self.fc1.forward(states_bth)?;
        let inner = match self.activation {
            Activation::QuickGelu => (inner.f_mul_scalar(1.702)?).f_sigmoid_()?.f_mul(&inner)?,
            Activation::Gelu => inner.f_gelu("none")?,
        };
        self.fc2.forward(&inner)
    }
}
