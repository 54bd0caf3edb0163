//! Text tower: a causal transformer, pooled at the end-of-text token.

use tch::{Kind, TchError, Tensor};

use super::config::TextConfig;
use super::layers::Encoder;
use crate::layers::{AttentionMask, Builder, LayerNorm, causal_and_real};
use crate::transfer;

/// Standard deviation of transformers' initial embeddings.
const EMBEDDING_STD: f64 = 0.02;

#[derive(Debug)]
pub(super) struct TextTower {
    token_embedding: Tensor,
    position_embedding: Tensor,
    pub(super) encoder: Encoder,
    final_layer_norm: LayerNorm,
    end_tokens: Vec<i64>,
}

impl TextTower {
    pub(super) fn new(builder: &Builder, config: &TextConfig) -> Result<Self, TchError> {
        let embedding = |name: &str, rows: i64| {
            let std = EMBEDDING_STD * config.initializer_factor;
            builder.sub("embeddings").sub(name).normal("weight", &[rows, config.hidden_size], std)
        };
        let encoder = config.encoder();
        Ok(Self {
            token_embedding: embedding("token_embedding", config.vocab_size)?,
            position_embedding: embedding("position_embedding", config.max_position_embeddings)?,
            encoder: Encoder::new(&builder.sub("encoder"), &encoder)?,
            final_layer_norm: encoder.norm(&builder.sub("final_layer_norm"))?,
            end_tokens: config.eos_token_id.clone(),
        })
    }

    /// Returns normalised states `[batch, hidden]` at the end tokens of `ids` `[batch, tokens]`.
    ///
    /// `attention_mask` `[batch, tokens]` is 0 for tokens that no token may attend to.
    pub(super) fn forward(
        &self,
        ids: &Tensor,
        attention_mask: Option<&Tensor>,
    ) -> Result<Tensor, TchError> {
        let device = self.token_embedding.device();
        let ids = transfer::to_device(ids, device)?.f_to_kind(Kind::Int64)?;
        let (batch, tokens) = ids.size2()?;
        let visible = match attention_mask {
            None => AttentionMask::Causal,
            Some(mask) => {
                AttentionMask::Custom(causal_and_real(&transfer::to_device(mask, device)?)?)
            }
        };
        let positions = self.position_embedding.f_narrow(0, 0, tokens)?;
        let states_bth = Tensor::f_embedding(&self.token_embedding, &ids, -1, false, false)?
            .f_add(&positions)?;
        let states_bth = self.encoder.forward(states_bth, &visible)?;
        let end = self.end_positions(&ids)?.f_view([batch, 1, 1])?;
        let hidden = states_bth.size()[2];
        let pooled = states_bth.f_gather(1, &end.f_expand([batch, 1, hidden], false)?, false)?;
        // The norm is per token, so it is applied after pooling.
        self.final_layer_norm.forward(&pooled.f_squeeze_dim(1)?)
    }

    /// Returns the position of each row's end token, `[batch]`.
    ///
    /// It is the first end token, or, for configs with the obsolete id 2, the position of the
    /// highest id. As in transformers, a row without an end token gives 0.
    fn end_positions(&self, ids: &Tensor) -> Result<Tensor, TchError> {
        if self.end_tokens == [2] {
            return ids.f_argmax(1, false);
        }
        let ends = transfer::to_device(&Tensor::f_from_slice(&self.end_tokens)?, ids.device())?;
        let is_end = ids.f_unsqueeze(-1)?.f_eq_tensor(&ends)?.f_any_dim(-1, false)?;
        is_end.f_to_kind(Kind::Int)?.f_argmax(1, false)
    }
}
