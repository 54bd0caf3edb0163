//! Building blocks of the networks: variable creation, and layers of CLIP, BART and BERT.
//!
//! Shapes: `_bth` is `[batch, tokens, hidden]`, `_bhtd` is `[batch, heads, tokens, head_dim]`.

use tch::nn::{self, Init};
use tch::{Device, Kind, TchError, Tensor};

use crate::libtorch;
use crate::packed::{Fused, Weight};

/// Initial values of a network's variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InitialWeights {
    /// Random values, as for training from scratch.
    Random,
    /// Zeros that a checkpoint overwrites, which saves the time of drawing random numbers.
    Zeros,
}

/// Creates a module's variables under a path of the variable store.
pub(crate) struct Builder<'a> {
    path: nn::Path<'a>,
    initial: InitialWeights,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(path: nn::Path<'a>, initial: InitialWeights) -> Self {
        Self { path, initial }
    }

    pub(crate) fn sub(&self, name: impl ToString) -> Self {
        Self { path: self.path.sub(name), initial: self.initial }
    }

    /// Returns the device of the variables.
    pub(crate) fn device(&self) -> Device {
        self.path.device()
    }

    /// Adds a variable, drawn from `random` unless the builder creates zeros.
    ///
    /// # Panics
    /// Panics if memory is exhausted.
    pub(crate) fn var(&self, name: &str, shape: &[i64], random: Init) -> Tensor {
        self.path.var(name, shape, self.begin(random))
    }

    /// Adds a variable that no optimizer changes.
    ///
    /// # Panics
    /// Panics if memory is exhausted.
    pub(crate) fn untrained(&self, name: &str, size: i64, value: f64) -> Tensor {
        let mut variable = self.path.zeros_no_train(name, &[size]);
        tch::no_grad(|| variable.fill_(value))
    }

    pub(crate) fn normal(&self, name: &str, shape: &[i64], std: f64) -> Result<Tensor, TchError> {
        self.path.f_var(name, shape, self.begin(Init::Randn { mean: 0.0, stdev: std }))
    }

    fn begin(&self, random: Init) -> Init {
        match self.initial {
            InitialWeights::Random => random,
            InitialWeights::Zeros => Init::Const(0.0),
        }
    }

    pub(crate) fn constant(
        &self,
        name: &str,
        shape: &[i64],
        value: f64,
    ) -> Result<Tensor, TchError> {
        self.path.f_var(name, shape, self.begin(Init::Const(value)))
    }
}

/// Linear layer, `x W^T + b`.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

impl Linear {
    /// Creates a map from `input` to `output` values: weights `N(0, std^2)`, bias 0.
    pub(crate) fn new(
        builder: &Builder,
        input: i64,
        output: i64,
        std: f64,
    ) -> Result<Self, TchError> {
        Ok(Self {
            bias: Some(builder.constant("bias", &[output], 0.0)?),
            ..Self::unbiased(builder, input, output, std)?
        })
    }

    pub(crate) fn unbiased(
        builder: &Builder,
        input: i64,
        output: i64,
        std: f64,
    ) -> Result<Self, TchError> {
        let weight = builder.normal("weight", &[output, input], std)?;
        Ok(Self { weight: Weight::Plain(weight), bias: None })
    }

    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        self.forward_then(input, Fused::Nothing)
    }

    /// Computes `function` of [`Self::forward`].
    pub(crate) fn forward_then(&self, input: &Tensor, function: Fused) -> Result<Tensor, TchError> {
        match &self.weight {
            Weight::Plain(weight) => function.apply(input.f_linear(weight, self.bias.as_ref())?),
            Weight::Packed(weight) => weight.product(input, self.bias.as_ref(), function),
        }
    }

    /// Packs the weight for inference; it must not change any more.
    pub(crate) fn pack(&mut self) {
        self.weight.pack(Tensor::shallow_clone);
    }

    /// Multiplies weight and bias, which must not be packed yet; shared memory stays as it is.
    pub(crate) fn scale(&mut self, weight_factor: f64, bias_factor: f64) {
        if let Weight::Plain(weight) = &mut self.weight {
            *weight = weight.detach() * weight_factor;
        }
        self.bias = self.bias.as_ref().map(|bias| bias.detach() * bias_factor);
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
    pub(crate) fn new(builder: &Builder, hidden: i64, eps: f64) -> Result<Self, TchError> {
        Ok(Self {
            weight: builder.constant("weight", &[hidden], 1.0)?,
            bias: builder.constant("bias", &[hidden], 0.0)?,
            eps,
        })
    }

    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        input.f_layer_norm(self.weight.size(), Some(&self.weight), Some(&self.bias), self.eps, true)
    }

    /// Computes [`Self::forward`].
    ///
    /// # Panics
    /// Panics if memory is exhausted, as tch's own functions do.
    pub(crate) fn normalized(&self, input: &Tensor) -> Tensor {
        libtorch::expect(self.forward(input))
    }
}

/// Keys that a query may attend to.
pub(crate) enum AttentionMask {
    /// All keys.
    All,
    /// Keys up to and including the query's own position; the fast path of fused kernels.
    Causal,
    /// Keys where a boolean tensor, broadcastable to `[batch, heads, queries, keys]`, is true.
    Custom(Tensor),
}

impl AttentionMask {
    /// Returns the mask and the flag `is_causal` of `scaled_dot_product_attention`.
    pub(crate) fn arguments(&self) -> (Option<&Tensor>, bool) {
        match self {
            Self::All => (None, false),
            Self::Causal => (None, true),
            Self::Custom(mask) => (Some(mask), false),
        }
    }
}

/// Returns a mask `[batch, 1, tokens, tokens]`: true for real tokens, 1 in `mask` `[batch,
/// tokens]`, up to the query's position.
pub(crate) fn causal_and_real(mask: &Tensor) -> Result<Tensor, TchError> {
    let tokens = mask.size()[1];
    let causal = Tensor::f_ones([tokens, tokens], (Kind::Bool, mask.device()))?.f_tril(0)?;
    mask.f_ne(0)?.f_view([-1, 1, 1, tokens])?.f_logical_and(&causal)
}

/// Multi-head attention with query, key, value and output projections.
#[derive(Debug)]
pub(crate) struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: i64,
}

impl Attention {
    /// Creates projections of standard deviation `in_std` (queries, keys, values) and `out_std`
    /// (output).
    ///
    /// `heads` must divide `hidden`.
    pub(crate) fn new(
        builder: &Builder,
        hidden: i64,
        heads: i64,
        [in_std, out_std]: [f64; 2],
    ) -> Result<Self, TchError> {
        let linear = |name, std| Linear::new(&builder.sub(name), hidden, hidden, std);
        let inputs =
            [linear("q_proj", in_std)?, linear("k_proj", in_std)?, linear("v_proj", in_std)?];
        Ok(Self::from_projections(inputs, linear("out_proj", out_std)?, heads))
    }

    /// Creates attention from projections of queries, keys and values and that of the output.
    pub(crate) fn from_projections(
        [q_proj, k_proj, v_proj]: [Linear; 3],
        out_proj: Linear,
        heads: i64,
    ) -> Self {
        Self { q_proj, k_proj, v_proj, out_proj, heads }
    }

    /// Packs the weights for inference; they must not change any more.
    pub(crate) fn pack(&mut self) {
        let Self { q_proj, k_proj, v_proj, out_proj, .. } = self;
        [q_proj, k_proj, v_proj, out_proj].into_iter().for_each(Linear::pack);
    }

    /// Attends from `states_bth` to `memory_bth`; returns `[batch, tokens, hidden]`.
    ///
    /// The two may differ in their number of tokens.
    pub(crate) fn forward(
        &self,
        states_bth: &Tensor,
        memory_bth: &Tensor,
        visible: &AttentionMask,
    ) -> Result<Tensor, TchError> {
        let (batch, tokens, hidden) = states_bth.size3()?;
        let split = |input_bth: &Tensor, projection: &Linear| {
            let tokens = input_bth.size()[1];
            projection
                .forward(input_bth)?
                .f_view([batch, tokens, self.heads, hidden / self.heads])?
                .f_transpose(1, 2)
        };
        let (mask, causal) = visible.arguments();
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

/// Divides rows by their L2 norms; `[rows, dimension]` in and out.
///
/// # Errors
/// Fails if libtorch refuses, for want of memory.
pub fn normalized(rows: &Tensor) -> Result<Tensor, TchError> {
    rows.f_div(&rows.f_norm_scalaropt_dim(2.0, [-1], true)?)
}
