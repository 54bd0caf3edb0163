//! Layers of BERT. Each norm follows its residual sum (post-norm).

use tch::{TchError, Tensor};

use super::config::BertConfig;
use crate::layers::{Attention, AttentionMask, Builder, LayerNorm, Linear};

/// Creates a linear layer that a checkpoint fills.
fn linear(builder: &Builder, inputs: i64, outputs: i64) -> Result<Linear, TchError> {
    Linear::new(builder, inputs, outputs, 0.0)
}

/// Layer of the encoder.
#[derive(Debug)]
pub(super) struct Layer {
    attention: Attention,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
}

impl Layer {
    pub(super) fn new(builder: &Builder, config: &BertConfig) -> Result<Self, TchError> {
        let &BertConfig { hidden_size: hidden, intermediate_size: inner, .. } = config;
        let (attention, output) = (builder.sub("attention"), builder.sub("output"));
        let (projections, attended) = (attention.sub("self"), attention.sub("output"));
        let projection = |name| linear(&projections.sub(name), hidden, hidden);
        let norm =
            |part: &Builder| LayerNorm::new(&part.sub("LayerNorm"), hidden, config.layer_norm_eps);
        Ok(Self {
            attention: Attention::from_projections(
                [projection("query")?, projection("key")?, projection("value")?],
                linear(&attended.sub("dense"), hidden, hidden)?,
                config.num_attention_heads,
            ),
            attention_norm: norm(&attended)?,
            intermediate: linear(&builder.sub("intermediate").sub("dense"), hidden, inner)?,
            output: linear(&output.sub("dense"), inner, hidden)?,
            output_norm: norm(&output)?,
        })
    }

    /// Maps states to states, both `[batch, tokens, hidden]`.
    pub(super) fn forward(
        &self,
        states_bth: &Tensor,
        visible: &AttentionMask,
    ) -> Result<Tensor, TchError> {
        let attended = self.attention.forward(states_bth, states_bth, visible)?;
        let states_bth = self.attention_norm.forward(&states_bth.f_add(&attended)?)?;
        let inner = self.intermediate.forward(&states_bth)?.f_gelu("none")?;
        self.output_norm.forward(&states_bth.f_add(&self.output.forward(&inner)?)?)
    }
}
