//! `config.json` of a CLIP model, validated before a model is built from it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config::{
    MAX_LAYERS, MAX_SIZE, check_parameters, check_scale, check_sizes, from_json, read_config,
};
use crate::error::ModelError;

/// Settings of a CLIP, named as in transformers' `CLIPConfig`, with its defaults (ViT-B/32).
///
/// Settings without effect on inference, such as `attention_dropout`, are ignored.
///
/// Old files describe each tower twice, as `text_config` and `text_config_dict`. As in
/// transformers, the latter with defaults for absent fields replaces the former.
///
/// Deserialisation validates the sizes, and rejects settings that would change the computation in
/// an unsupported way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Value")]
pub struct ClipConfig {
    /// Settings of the text tower.
    pub text_config: TextConfig,
    /// Settings of the vision tower.
    pub vision_config: VisionConfig,
    /// Length of both towers' embeddings.
    pub projection_dim: i64,
    /// Initial logarithm of the similarity scale.
    pub logit_scale_init_value: f64,
    /// Towers that the model has; the settings of an absent tower are unused.
    pub towers: Towers,
    /// Encoder whose features the model projects in place of a vision tower, after LiT.
    pub image_encoder: Option<LockedEncoder>,
}

/// Image encoder that stayed fixed while a text tower was trained on its features.
///
/// This is locked-image tuning, LiT (Zhai et al. 2022, arXiv 2111.07991). The encoder is not part
/// of the model's folder; `config.json` describes it as `image_encoder`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockedEncoder {
    /// Number of values in its features.
    pub dimension: i64,
    /// Everything else that tells its features from those of another encoder.
    #[serde(flatten)]
    pub identity: Map<String, Value>,
}

/// Towers of a CLIP model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Towers {
    /// Both towers.
    Both,
    /// The vision tower, as in transformers' `CLIPVisionModelWithProjection`.
    Vision,
    /// The text tower, as in transformers' `CLIPTextModelWithProjection`.
    Text,
}

/// Settings of the text tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// Number of tokens in the vocabulary.
    pub vocab_size: i64,
    /// Hidden size.
    pub hidden_size: i64,
    /// Feed-forward size.
    pub intermediate_size: i64,
    /// Number of layers.
    pub num_hidden_layers: i64,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: i64,
    /// Maximum number of tokens in a text.
    pub max_position_embeddings: i64,
    /// Activation of the feed-forward layers.
    pub hidden_act: Activation,
    /// Added to the variance in layer normalisation.
    pub layer_norm_eps: f64,
    /// Factor on the standard deviations of the initial weights.
    pub initializer_factor: f64,
    /// End-of-text tokens, usually one; a text is pooled at the first. The value 2, a mistake in
    /// old files, and `null` select the position of the highest id instead (the end token's in
    /// `OpenAI`'s vocabulary).
    #[serde(with = "end_tokens")]
    pub eos_token_id: Vec<i64>,
}

/// Settings of the vision tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VisionConfig {
    /// Hidden size.
    pub hidden_size: i64,
    /// Feed-forward size.
    pub intermediate_size: i64,
    /// Number of layers.
    pub num_hidden_layers: i64,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: i64,
    /// Number of image channels.
    pub num_channels: i64,
    /// Height and width of an image in pixels.
    pub image_size: i64,
    /// Height and width of a patch in pixels.
    pub patch_size: i64,
    /// Activation of the feed-forward layers.
    pub hidden_act: Activation,
    /// Added to the variance in layer normalisation.
    pub layer_norm_eps: f64,
    /// Standard deviation of the initial patch and position embeddings.
    pub initializer_range: f64,
    /// Factor on the standard deviations of the initial weights.
    pub initializer_factor: f64,
}

/// Activation of the feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Activation {
    /// `x * sigmoid(1.702 x)`, used by `OpenAI`: `quick_gelu`.
    QuickGelu,
    /// GELU by the error function, used by models trained elsewhere: `gelu`.
    Gelu,
}

impl From<Activation> for String {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::QuickGelu => "quick_gelu".to_owned(),
            Activation::Gelu => "gelu".to_owned(),
        }
    }
}

impl TryFrom<String> for Activation {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match name.as_str() {
            "quick_gelu" => Ok(Self::QuickGelu),
            "gelu" => Ok(Self::Gelu),
            _ => Err(format!("hidden_act is {name:?}; supported are quick_gelu and gelu")),
        }
    }
}

impl Default for ClipConfig {
    /// Returns the settings of ViT-B/32.
    fn default() -> Self {
        Self {
            text_config: TextConfig::default(),
            vision_config: VisionConfig::default(),
            projection_dim: 512,
            logit_scale_init_value: 2.6592,
            towers: Towers::Both,
            image_encoder: None,
        }
    }
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49_408,
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            initializer_factor: 1.0,
            eos_token_id: vec![49_407],
        }
    }
}

impl Default for VisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            initializer_range: 0.02,
            initializer_factor: 1.0,
        }
    }
}

/// Settings common to both towers.
pub(super) struct EncoderConfig {
    pub hidden: i64,
    pub inner: i64,
    pub layers: i64,
    pub heads: i64,
    pub activation: Activation,
    pub eps: f64,
    pub factor: f64,
}

impl TextConfig {
    pub(super) fn encoder(&self) -> EncoderConfig {
        EncoderConfig {
            hidden: self.hidden_size,
            inner: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            activation: self.hidden_act,
            eps: self.layer_norm_eps,
            factor: self.initializer_factor,
        }
    }
}

impl VisionConfig {
    pub(super) fn encoder(&self) -> EncoderConfig {
        EncoderConfig {
            hidden: self.hidden_size,
            inner: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            activation: self.hidden_act,
            eps: self.layer_norm_eps,
            factor: self.initializer_factor,
        }
    }

    /// Returns the number of tokens: whole patches of an image and the class token.
    #[must_use]
    pub fn positions(&self) -> i64 {
        (self.image_size / self.patch_size).pow(2) + 1
    }
}

impl ClipConfig {
    /// Reads the `config.json` of a model folder.
    ///
    /// # Errors
    /// Fails with the file and the field.
    pub fn from_folder(folder: &Path) -> Result<Self, ModelError> {
        read_config(&folder.join("config.json"), Self::parse)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let tower: Tower = from_json(text)?;
        let default = Self::default();
        let projection_dim = tower.projection_dim.unwrap_or(default.projection_dim);
        let config = match tower.model_type.as_deref() {
            Some("clip_vision_model") => Self {
                vision_config: from_json(text)?,
                projection_dim,
                towers: Towers::Vision,
                ..default
            },
            Some("clip_text_model") => Self {
                text_config: from_json(text)?,
                projection_dim,
                towers: Towers::Text,
                ..default
            },
            _ => return from_json(text),
        };
        config.check()?;
        Ok(config)
    }

    /// Validates the settings.
    ///
    /// Deserialisation calls it; call it for a hand-made config before
    /// [`ClipModel::new`](super::ClipModel::new).
    ///
    /// # Errors
    /// Fails with the field and the problem.
    pub fn check(&self) -> Result<(), String> {
        let (text, vision) = (&self.text_config, &self.vision_config);
        check_sizes(&[
            ("projection_dim", self.projection_dim, MAX_SIZE),
            ("text_config.vocab_size", text.vocab_size, MAX_SIZE),
            ("text_config.max_position_embeddings", text.max_position_embeddings, MAX_SIZE),
            ("vision_config.num_channels", vision.num_channels, MAX_SIZE),
            ("vision_config.image_size", vision.image_size, MAX_SIZE),
            ("vision_config.patch_size", vision.patch_size, MAX_SIZE),
        ])?;
        if vision.patch_size > vision.image_size {
            return Err(format!(
                "vision_config.patch_size {} is larger than image_size {}",
                vision.patch_size, vision.image_size
            ));
        }
        text.encoder().check("text_config")?;
        vision.encoder().check("vision_config")?;
        check_scale("vision_config.initializer_range", vision.initializer_range)?;
        if let Some(encoder) = &self.image_encoder {
            check_sizes(&[("image_encoder.dimension", encoder.dimension, MAX_SIZE)])?;
        }
        if !self.logit_scale_init_value.is_finite() {
            return Err("logit_scale_init_value is not a number".to_owned());
        }
        check_parameters(self.parameters())
    }

    /// Returns the number of values in the large matrices, without biases and norms.
    #[must_use]
    pub fn parameters(&self) -> u128 {
        let wide = |size: i64| u128::from(size.unsigned_abs());
        let tower = |encoder: &EncoderConfig| {
            let hidden = wide(encoder.hidden);
            wide(encoder.layers) * hidden * (4 * hidden + 2 * wide(encoder.inner))
                + hidden * wide(self.projection_dim)
        };
        let (text, vision) = (&self.text_config, &self.vision_config);
        let rows = wide(text.vocab_size) + wide(text.max_position_embeddings);
        let patch = wide(vision.num_channels) * wide(vision.patch_size).pow(2);
        let side = wide(vision.image_size / vision.patch_size);
        let images = match &self.image_encoder {
            Some(encoder) => wide(encoder.dimension) * wide(self.projection_dim),
            None => tower(&vision.encoder()) + wide(vision.hidden_size) * (patch + side.pow(2)),
        };
        tower(&text.encoder()) + wide(text.hidden_size) * rows + images
    }
}

impl EncoderConfig {
    fn check(&self, tower: &str) -> Result<(), String> {
        check_sizes(&[
            (&format!("{tower}.hidden_size"), self.hidden, MAX_SIZE),
            (&format!("{tower}.intermediate_size"), self.inner, MAX_SIZE),
            (&format!("{tower}.num_hidden_layers"), self.layers, MAX_LAYERS),
            (&format!("{tower}.num_attention_heads"), self.heads, MAX_SIZE),
        ])?;
        if self.hidden % self.heads != 0 {
            return Err(format!(
                "{tower}.hidden_size {} is not a multiple of num_attention_heads {}",
                self.hidden, self.heads
            ));
        }
        check_scale(&format!("{tower}.layer_norm_eps"), self.eps)?;
        check_scale(&format!("{tower}.initializer_factor"), self.factor)
    }
}

/// Entries of a single tower's `config.json` next to the tower's settings.
#[derive(Deserialize)]
struct Tower {
    model_type: Option<String>,
    projection_dim: Option<i64>,
}

/// Serialisation of end tokens: a number, a list, or `null`.
mod end_tokens {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        One(i64),
        Several(Vec<i64>),
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<i64>, D::Error> {
        Ok(match Option::<Form>::deserialize(from)? {
            Some(Form::One(id)) => vec![id],
            Some(Form::Several(ids)) if !ids.is_empty() => ids,
            Some(Form::Several(_)) | None => vec![2],
        })
    }

    pub fn serialize<S: Serializer>(ids: &Vec<i64>, to: S) -> Result<S::Ok, S::Error> {
        match ids[..] {
            [id] => id.serialize(to),
            _ => ids.serialize(to),
        }
    }
}

/// Entries of `config.json`. As in transformers, `null` counts as absent.
#[derive(Deserialize)]
struct Fields {
    model_type: Option<String>,
    text_config: Option<TextConfig>,
    text_config_dict: Option<TextConfig>,
    vision_config: Option<VisionConfig>,
    vision_config_dict: Option<VisionConfig>,
    projection_dim: Option<i64>,
    logit_scale_init_value: Option<f64>,
    image_encoder: Option<LockedEncoder>,
}

impl TryFrom<Fields> for ClipConfig {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        match fields.model_type.as_deref() {
            None | Some("clip") => {}
            Some(other) => {
                return Err(format!(
                    "model_type is {other:?}, not \"clip\", \"clip_vision_model\" or \
                     \"clip_text_model\""
                ));
            }
        }
        let default = Self::default();
        let config = Self {
            text_config: fields.text_config_dict.or(fields.text_config).unwrap_or_default(),
            vision_config: fields.vision_config_dict.or(fields.vision_config).unwrap_or_default(),
            projection_dim: fields.projection_dim.unwrap_or(default.projection_dim),
            logit_scale_init_value: fields
                .logit_scale_init_value
                .unwrap_or(default.logit_scale_init_value),
            towers: if fields.image_encoder.is_some() { Towers::Text } else { Towers::Both },
            image_encoder: fields.image_encoder,
        };
        config.check()?;
        Ok(config)
    }
}

impl From<ClipConfig> for Value {
    /// Serialises as transformers does: its single-tower classes look for their own
    /// `projection_dim`.
    fn from(config: ClipConfig) -> Self {
        let mut value = json!({
            "architectures": ["CLIPModel"],
            "model_type": "clip",
            "projection_dim": config.projection_dim,
            "logit_scale_init_value": config.logit_scale_init_value,
            "initializer_factor": 1.0,
            "text_config": config.text_config,
        });
        value["text_config"]["projection_dim"] = json!(config.projection_dim);
        if let Some(encoder) = config.image_encoder {
            value["image_encoder"] = json!(encoder);
        } else {
            value["vision_config"] = json!(config.vision_config);
            value["vision_config"]["projection_dim"] = json!(config.projection_dim);
        }
        value
    }
}
