//! What encoder and decoder are made of. Norms come after each sum.
//!
//! Shapes: `_bth` is `[batch, tokens, hidden]`, `_bhtd` is `[batch, heads, tokens, head_dim]`.

use tch::nn::{Init, Path};
use tch::{TchError, Tensor};

const EPSILON: f64 = 1e-5;

/// Zeros, to be filled.
pub(super) fn zeros(at: &Path, name: &str, shape: &[i64]) -> Result<Tensor, TchError> {
    at.f_var(name, shape, Init::Const(0.0))
}

/// `x W^T + b`.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(super) fn new(at: &Path, inputs: i64, outputs: i64) -> Result<Self, TchError> {
        let weight = zeros(at, "weight", &[outputs, inputs])?;
        Ok(Self { weight, bias: zeros(at, "bias", &[outputs])? })
    }

    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        input.f_linear(&self.weight, Some(&self.bias))
    }
}

#[derive(Debug)]
pub(super) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    pub(super) fn new(at: &Path, hidden: i64) -> Result<Self, TchError> {
        Ok(Self { weight: zeros(at, "weight", &[hidden])?, bias: zeros(at, "bias", &[hidden])? })
    }

    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        let shape = self.weight.size();
        input.f_layer_norm(shape, Some(&self.weight), Some(&self.bias), EPSILON, true)
    }
}

/// Which tokens a token may attend to.
pub(super) enum Visible<'m> {
    /// Itself and those before it.
    Causal,
    /// Those with true in `[batch, 1, 1, tokens]`.
    Only(&'m Tensor),
}

#[derive(Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    norm: LayerNorm,
    heads: i64,
}

impl Attention {
    /// Attention `name` with the norm behind it.
    fn new(layer: &Path, name: &str, hidden: i64, heads: i64) -> Result<Self, TchError> {
        let linear = |part| Linear::new(&(layer / name / part), hidden, hidden);
        Ok(Self {
            q_proj: linear("q_proj")?,
            k_proj: linear("k_proj")?,
            v_proj: linear("v_proj")?,
            out_proj: linear("out_proj")?,
            norm: LayerNorm::new(&(layer / format!("{name}_layer_norm").as_str()), hidden)?,
            heads,
        })
    }

    /// The sum of `states` and what they attend to in `memory`, normalised.
    fn forward(&self, states: &Tensor, memory: &Tensor, see: &Visible) -> Result<Tensor, TchError> {
        let (batch, tokens, hidden) = states.size3()?;
        let split = |input: &Tensor, projection: &Linear| {
            projection
                .forward(input)?
                .f_view([batch, -1, self.heads, hidden / self.heads])?
                .f_transpose(1, 2)
        };
        let (mask, causal) = match see {
            Visible::Causal => (None, true),
            Visible::Only(mask) => (Some(*mask), false),
        };
        let attended_bhtd = Tensor::f_scaled_dot_product_attention(
            &split(states, &self.q_proj)?,
            &split(memory, &self.k_proj)?,
            &split(memory, &self.v_proj)?,
            mask,
            0.0,
            causal,
            None,
            false,
        )?;
        let attended_bth = attended_bhtd.f_transpose(1, 2)?.f_reshape([batch, tokens, hidden])?;
        self.norm.forward(&states.f_add(&self.out_proj.forward(&attended_bth)?)?)
    }
}

/// A layer of the encoder, or of the decoder, which attends to the encoder's states too.
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
        at: &Path,
        [hidden, heads, inner]: [i64; 3],
        decodes: bool,
    ) -> Result<Self, TchError> {
        let attention = |name| Attention::new(at, name, hidden, heads);
        Ok(Self {
            self_attn: attention("self_attn")?,
            encoder_attn: decodes.then(|| attention("encoder_attn")).transpose()?,
            fc1: Linear::new(&(at / "fc1"), hidden, inner)?,
            fc2: Linear::new(&(at / "fc2"), inner, hidden)?,
            norm: LayerNorm::new(&(at / "final_layer_norm"), hidden)?,
        })
    }

    /// `encoded` are the encoder's states and which of them are no padding.
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
