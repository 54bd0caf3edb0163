//! `config.json` of a BART that classifies.

use std::path::Path;

use foreign_text::{python_json, read_text};
use serde::Deserialize;

use super::BartError;

/// More than ten times `bart-large-mnli`: refusing it is kinder than running out of memory.
const MAX_WIDTH: i64 = 16_384;

/// The settings of a BART, named as in transformers' `BartConfig`. Those that do not change what is
/// computed are passed over, dropout among them: nothing is dropped here.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BartConfig {
    /// Rows of the token embedding.
    pub vocab_size: i64,
    /// Longest text, in tokens.
    pub max_position_embeddings: i64,
    /// Width of the hidden states.
    pub d_model: i64,
    /// Layers of the encoder.
    pub encoder_layers: i64,
    /// Attention heads of the encoder; divides `d_model`.
    pub encoder_attention_heads: i64,
    /// Width inside the encoder's feed-forward layers.
    pub encoder_ffn_dim: i64,
    /// Layers of the decoder.
    pub decoder_layers: i64,
    /// Attention heads of the decoder; divides `d_model`.
    pub decoder_attention_heads: i64,
    /// Width inside the decoder's feed-forward layers.
    pub decoder_ffn_dim: i64,
    /// The token behind each text; its last place is pooled.
    pub eos_token_id: i64,
    /// The token of padding.
    pub pad_token_id: i64,
    /// What the decoder reads first.
    pub decoder_start_token_id: i64,
    activation_function: String,
    #[serde(default)]
    scale_embedding: bool,
    label2id: std::collections::BTreeMap<String, i64>,
}

impl BartConfig {
    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// Names the file, the field, and what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, BartError> {
        let text = read_text(path)
            .map_err(|source| BartError::ReadConfig { path: path.to_owned(), source })?;
        let invalid = |reason| BartError::InvalidConfig { path: path.to_owned(), reason };
        let config: Self = serde_json::from_str(&python_json(&text))
            .map_err(|error| invalid(error.to_string()))?;
        config.check().map_err(invalid)?;
        Ok(config)
    }

    /// Classes that are told apart.
    pub(super) fn labels(&self) -> i64 {
        self.label2id.len() as i64
    }

    /// The class of entailment: the one whose name begins so, as transformers' pipeline finds it.
    #[must_use]
    pub fn entailment(&self) -> i64 {
        let begins = |name: &str| name.to_lowercase().starts_with("entail");
        self.label2id.iter().find(|(name, _)| begins(name)).map_or(-1, |(_, &id)| id)
    }

    fn check(&self) -> Result<(), String> {
        for (name, value, most) in [
            ("vocab_size", self.vocab_size, 10_000_000),
            ("max_position_embeddings", self.max_position_embeddings, 1_000_000),
            ("d_model", self.d_model, MAX_WIDTH),
            ("encoder_layers", self.encoder_layers, 200),
            ("decoder_layers", self.decoder_layers, 200),
            ("encoder_ffn_dim", self.encoder_ffn_dim, 8 * MAX_WIDTH),
            ("decoder_ffn_dim", self.decoder_ffn_dim, 8 * MAX_WIDTH),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("{name} is {value}, but must be from 1 to {most}"));
            }
        }
        for (name, heads) in [
            ("encoder_attention_heads", self.encoder_attention_heads),
            ("decoder_attention_heads", self.decoder_attention_heads),
        ] {
            if heads < 1 || self.d_model % heads != 0 {
                return Err(format!("{name} is {heads}, which does not divide d_model"));
            }
        }
        for (name, id) in [
            ("eos_token_id", self.eos_token_id),
            ("pad_token_id", self.pad_token_id),
            ("decoder_start_token_id", self.decoder_start_token_id),
        ] {
            if !(0..self.vocab_size).contains(&id) {
                return Err(format!("{name} is {id}, which is not in the vocabulary"));
            }
        }
        if self.activation_function != "gelu" {
            let name = &self.activation_function;
            return Err(format!("activation_function is {name}; only gelu is supported"));
        }
        if self.scale_embedding {
            return Err("scale_embedding is true; only false is supported".to_owned());
        }
        if !(0..self.labels()).contains(&self.entailment()) {
            return Err("label2id has no class of entailment, so this is no model of natural \
                language inference"
                .to_owned());
        }
        Ok(())
    }
}
