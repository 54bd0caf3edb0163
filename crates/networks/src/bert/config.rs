//! `config.json` of a BERT, and the files in which sentence-transformers describes its pooling.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::config::{check_sizes, from_json, read_config};
use crate::error::ModelError;

/// Sanity limit, sixteen times `bert-large`, so that a wrong config fails early.
const MAX_WIDTH: i64 = 16_384;

/// Settings of a BERT, named as in transformers' `BertConfig`.
///
/// Settings without effect on inference, such as dropout, are ignored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BertConfig {
    /// Number of tokens in the vocabulary.
    pub vocab_size: i64,
    /// Maximum number of tokens in a text.
    pub max_position_embeddings: i64,
    /// Hidden size, which is the length of an embedding.
    pub hidden_size: i64,
    /// Number of layers.
    pub num_hidden_layers: i64,
    /// Number of attention heads; divides `hidden_size`.
    pub num_attention_heads: i64,
    /// Feed-forward size.
    pub intermediate_size: i64,
    /// Number of token types, of which only the first is used.
    #[serde(default = "two")]
    pub type_vocab_size: i64,
    /// Added to the variance in layer normalisation.
    #[serde(default = "epsilon")]
    pub layer_norm_eps: f64,
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    #[serde(default)]
    model_type: Option<String>,
}

fn two() -> i64 {
    2
}

fn epsilon() -> f64 {
    1e-12
}

impl BertConfig {
    /// Reads and checks the `config.json` of `folder`, and the description of its pooling.
    ///
    /// `modules.json` and the pooling's own config may be absent, as in a plain BERT's folder.
    ///
    /// # Errors
    /// Fails with the file, the field and the problem.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let config = read_config(&folder.join("config.json"), |text| {
            let config: Self = from_json(text)?;
            config.check().map(|()| config)
        })?;
        check_modules(folder)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if let Some(other) = self.model_type.as_ref().filter(|name| *name != "bert") {
            return Err(format!("model_type is {other}; only bert is supported"));
        }
        check_sizes(&[
            ("vocab_size", self.vocab_size, 10_000_000),
            ("max_position_embeddings", self.max_position_embeddings, 1_000_000),
            ("hidden_size", self.hidden_size, MAX_WIDTH),
            ("num_hidden_layers", self.num_hidden_layers, 200),
            ("intermediate_size", self.intermediate_size, 8 * MAX_WIDTH),
            ("type_vocab_size", self.type_vocab_size, 1_000),
        ])?;
        let heads = self.num_attention_heads;
        if heads < 1 || self.hidden_size % heads != 0 {
            return Err(format!("hidden_size is not a multiple of num_attention_heads, {heads}"));
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            let eps = self.layer_norm_eps;
            return Err(format!("layer_norm_eps is {eps}, but must be between 0 and 1"));
        }
        if self.hidden_act != "gelu" {
            return Err(format!("hidden_act is {}; only gelu is supported", self.hidden_act));
        }
        if let Some(other) = self.position_embedding_type.as_ref().filter(|it| *it != "absolute") {
            return Err(format!("position_embedding_type is {other}; only absolute is supported"));
        }
        if self.is_decoder {
            return Err("is_decoder is true; only false is supported".to_owned());
        }
        Ok(())
    }
}

/// A step from text to embedding in `modules.json`.
#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    class: String,
}

/// Fails if sentence-transformers would compute something else than the mean over tokens.
fn check_modules(folder: &Path) -> Result<(), ModelError> {
    let path = folder.join("modules.json");
    if !path.exists() {
        return Ok(());
    }
    let modules: Vec<Module> = read_config(&path, from_json)?;
    for Module { path: name, class } in modules {
        match class.rsplit('.').next().unwrap_or_default() {
            "Transformer" | "Normalize" => {}
            "Pooling" => check_pooling(&folder.join(name).join("config.json"))?,
            _ => {
                let reason = format!(
                    "it has a module {class}; only Transformer, Pooling and Normalize are supported"
                );
                return Err(ModelError::InvalidConfig { path, reason });
            }
        }
    }
    Ok(())
}

fn check_pooling(path: &Path) -> Result<(), ModelError> {
    if !path.exists() {
        return Ok(());
    }
    read_config(path, |text| {
        let settings: Map<String, Value> = from_json(text)?;
        // Newer folders name the mode, or several; older ones have a flag for each.
        let is_other = |(name, value): &(String, Value)| match name.strip_prefix("pooling_mode") {
            Some("") => *value != json!("mean") && *value != json!(["mean"]),
            Some(mode) => value.as_bool() != Some(mode == "_mean_tokens"),
            None => false,
        };
        settings.into_iter().find(is_other).map_or(Ok(()), |(name, value)| {
            Err(format!("{name} is {value}; only the mean over tokens is supported"))
        })
    })
}
