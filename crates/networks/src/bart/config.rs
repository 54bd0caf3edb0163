//! `config.json` of a BART classifier.

use std::path::Path;

use serde::Deserialize;

use crate::config::{check_sizes, from_json, read_config};
use crate::error::ModelError;

/// Sanity limit, more than ten times `bart-large-mnli`, so that a wrong config fails early.
const MAX_WIDTH: i64 = 16_384;

/// Settings of a BART, named as in transformers' `BartConfig`.
///
/// Settings without effect on inference, such as dropout, are ignored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BartConfig {
    /// Number of tokens in the vocabulary.
    pub vocab_size: i64,
    /// Maximum number of tokens in a text.
    pub max_position_embeddings: i64,
    /// Hidden size.
    pub d_model: i64,
    /// Number of encoder layers.
    pub encoder_layers: i64,
    /// Number of attention heads in the encoder; divides `d_model`.
    pub encoder_attention_heads: i64,
    /// Feed-forward size of the encoder.
    pub encoder_ffn_dim: i64,
    /// Number of decoder layers.
    pub decoder_layers: i64,
    /// Number of attention heads in the decoder; divides `d_model`.
    pub decoder_attention_heads: i64,
    /// Feed-forward size of the decoder.
    pub decoder_ffn_dim: i64,
    /// End-of-text token; the classifier pools the state at its last occurrence.
    pub eos_token_id: i64,
    /// Padding token.
    pub pad_token_id: i64,
    /// First input token of the decoder.
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
    /// Fails with the file, the field and the problem.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        read_config(path, |text| {
            let config: Self = from_json(text)?;
            config.check().map(|()| config)
        })
    }

    /// Returns the number of classes.
    pub(super) fn num_labels(&self) -> i64 {
        self.label2id.len() as i64
    }

    /// Returns the class whose name begins with "entail", as transformers' pipeline finds it.
    #[must_use]
    pub fn entailment_class(&self) -> i64 {
        let begins = |name: &str| name.to_lowercase().starts_with("entail");
        self.label2id.iter().find(|(name, _)| begins(name)).map_or(-1, |(_, &id)| id)
    }

    fn check(&self) -> Result<(), String> {
        check_sizes(&[
            ("vocab_size", self.vocab_size, 10_000_000),
            ("max_position_embeddings", self.max_position_embeddings, 1_000_000),
            ("d_model", self.d_model, MAX_WIDTH),
            ("encoder_layers", self.encoder_layers, 200),
            ("decoder_layers", self.decoder_layers, 200),
            ("encoder_ffn_dim", self.encoder_ffn_dim, 8 * MAX_WIDTH),
            ("decoder_ffn_dim", self.decoder_ffn_dim, 8 * MAX_WIDTH),
        ])?;
        for (name, heads) in [
            ("encoder_attention_heads", self.encoder_attention_heads),
            ("decoder_attention_heads", self.decoder_attention_heads),
        ] {
            if heads < 1 || self.d_model % heads != 0 {
                return Err(format!("d_model is not a multiple of {name}, {heads}"));
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
        if !(0..self.num_labels()).contains(&self.entailment_class()) {
            return Err("label2id has no entailment class, so this is not a natural language \
                inference model"
                .to_owned());
        }
        Ok(())
    }
}
