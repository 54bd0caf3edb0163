//! Parts of networks: variables; for CLIP's towers and BART linear maps, norms and attention.
//!
//! Shapes: `_bth` is `[batch, tokens, hidden]`, `_bhtd` is `[batch, heads, tokens, head_dim]`.

use tch::nn::{self, Init};
use tch::{Device, TchError, Tensor};

/// Initial values of a network's variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initial {
    /// The weights that training from scratch begins with, drawn at random.
    Random,
    /// Zeros, to be filled from a file: spares the time and the random numbers.
    Zeros,
}

/// Where a module's variables go, and what they begin as.
pub(crate) struct Builder<'a> {
    path: nn::Path<'a>,
    initial: Initial,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(path: nn::Path<'a>, initial: Initial) -> Self {
        Self { path, initial }
    }

    pub(crate) fn sub(&self, name: impl ToString) -> Self {
        Self { path: self.path.sub(name), initial: self.initial }
    }

    /// Returns the device of the variables.
    pub(crate) fn device(&self) -> Device {
        self.path.device()
    }

    /// Adds a variable that begins as `random` where variables begin at random.
    ///
    /// # Panics
    /// When memory is exhausted.
    pub(crate) fn var(&self, name: &str, shape: &[i64], random: Init) -> Tensor {
        self.path.var(name, shape, self.begin(random))
    }

    pub(crate) fn normal(&self, name: &str, shape: &[i64], std: f64) -> Result<Tensor, TchError> {
        self.path.f_var(name, shape, self.begin(Init::Randn { mean: 0.0, stdev: std }))
    }

    fn begin(&self, random: Init) -> Init {
        match self.initial {
            Initial::Random => random,
            Initial::Zeros => Init::Const(0.0),
        }
    }

    pub(crate) fn constant(
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
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// A map from `input` to `output` values with weights of deviation `std` and a zero bias.
    pub(crate) fn new(at: &Builder, input: i64, output: i64, std: f64) -> Result<Self, TchError> {
        Ok(Self {
            bias: Some(at.constant("bias", &[output], 0.0)?),
            ..Self::unbiased(at, input, output, std)?
        })
    }

    pub(crate) fn unbiased(
        at: &Builder,
        input: i64,
        output: i64,
        std: f64,
    ) -> Result<Self, TchError> {
        Ok(Self { weight: at.normal("weight", &[output, input], std)?, bias: None })
    }

    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        input.f_linear(&self.weight, self.bias.as_ref())
    }
}

/// Layer normalisation; libtorch computes mean and variance in f32 for f16 and bf16 too.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    pub(crate) fn new(at: &Builder, hidden: i64, eps: f64) -> Result<Self, TchError> {
        Ok(Self {
            weight: at.constant("weight", &[hidden], 1.0)?,
            bias: at.constant("bias", &[hidden], 0.0)?,
            eps,
        })
    }

    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        input.f_layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), self.eps, true)
    }
}

/// Which tokens a token may attend to.
pub(crate) enum Visible {
    /// Every one.
    All,
    /// Itself and those before it.
    Causal,
    /// Those with true in a tensor that broadcasts to `[batch, heads, queries, keys]`.
    Only(Tensor),
}

/// Queries, keys and values by linear maps, attention in heads, and what comes out by another map.
#[derive(Debug)]
pub(crate) struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: i64,
}

impl Attention {
    /// With weights of deviation `in_std`, and `out_std` behind the heads, which divide `hidden`.
    pub(crate) fn new(
        at: &Builder,
        hidden: i64,
        heads: i64,
        [in_std, out_std]: [f64; 2],
    ) -> Result<Self, TchError> {
        let linear = |name, std| Linear::new(&at.sub(name), hidden, hidden, std);
        Ok(Self {
            q_proj: linear("q_proj", in_std)?,
            k_proj: linear("k_proj", in_std)?,
            v_proj: linear("v_proj", in_std)?,
            out_proj: linear("out_proj", out_std)?,
            heads,
        })
    }

    /// What `states_bth` attend to in `memory_bth`, which may have other tokens: `[batch, tokens,
    /// hidden]`.
    pub(crate) fn forward(
        &self,
        states_bth: &Tensor,
        memory_bth: &Tensor,
        see: &Visible,
    ) -> Result<Tensor, TchError> {
        let (batch, tokens, hidden) = states_bth.size3()?;
        let split = |input_bth: &Tensor, projection: &Linear| {
            let tokens = input_bth.size()[1];
            projection
                .forward(input_bth)?
                .f_view([batch, tokens, self.heads, hidden / self.heads])?
                .f_transpose(1, 2)
        };
        let (mask, causal) = match see {
            Visible::All => (None, false),
            Visible::Causal => (None, true),
            Visible::Only(mask) => (Some(mask), false),
        };
        let attended_bhtd = Tensor::f_scaled_dot_product_attention(
            &split(states_bth, &self.q_proj)?,
            &split(memory_bth, &self.k_proj)?,
            &split(memory_bth, &self.v_proj)?,
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
