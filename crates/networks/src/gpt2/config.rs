//! `config.json` of a GPT-2 model, validated before a model is built from it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::{
    MAX_LAYERS, MAX_SIZE, check_parameters, check_scale, check_sizes, from_json, read_config,
};
use crate::error::ModelError;

/// Settings of a GPT-2, named as in transformers' `GPT2Config`, with its defaults (GPT-2 small).
///
/// Unknown fields, and those without effect on the computation, are ignored.
///
/// Deserialisation validates the sizes, and rejects settings that would change the computation in
/// an unsupported way. `reorder_and_upcast_attn` only changes rounding in half precision, and the
/// fused attention used here accumulates in f32 anyway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct Gpt2Config {
    /// Number of tokens in the vocabulary.
    pub vocab_size: i64,
    /// Maximum sequence length in tokens.
    pub n_positions: i64,
    /// Hidden size.
    pub n_embd: i64,
    /// Number of blocks.
    pub n_layer: i64,
    /// Attention heads; divides `n_embd`.
    pub n_head: i64,
    /// Feed-forward size; `None` means `4 * n_embd`.
    pub n_inner: Option<i64>,
    /// Activation of the feed-forward layers.
    pub activation_function: Activation,
    /// Dropout after attention and after the feed-forward layer.
    pub resid_pdrop: f64,
    /// Dropout after the embeddings.
    pub embd_pdrop: f64,
    /// Dropout of attention weights.
    pub attn_pdrop: f64,
    /// Added to the variance in layer normalisation.
    pub layer_norm_epsilon: f64,
    /// Standard deviation of the initial weights.
    pub initializer_range: f64,
    /// True if attention scores are divided by the root of [`Self::head_dim`].
    pub scale_attn_weights: bool,
    /// True if attention scores are also divided by the layer's number, counted from 1.
    pub scale_attn_by_inverse_layer_idx: bool,
    /// True if the output head is tied to the token embedding; otherwise it has its own weights.
    pub tie_word_embeddings: bool,
}

/// Activation of the feed-forward layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// GELU with the tanh approximation, GPT-2's own: `gelu_new`.
    GeluNew,
    /// Alias of `gelu_new` in transformers: `gelu_pytorch_tanh`.
    GeluPytorchTanh,
    /// GELU by the error function: `gelu`.
    Gelu,
    /// max(x, 0): `relu`.
    Relu,
}

impl Activation {
    const ALL: [Self; 4] = [Self::GeluNew, Self::GeluPytorchTanh, Self::Gelu, Self::Relu];

    fn name(self) -> &'static str {
        match self {
            Self::GeluNew => "gelu_new",
            Self::GeluPytorchTanh => "gelu_pytorch_tanh",
            Self::Gelu => "gelu",
            Self::Relu => "relu",
        }
    }

    fn from_name(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|activation| activation.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("activation_function is {name:?}; supported are {names}")
        })
    }
}

impl Default for Gpt2Config {
    /// Returns the settings of GPT-2 small.
    fn default() -> Self {
        Self {
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: Activation::GeluNew,
            resid_pdrop: 0.1,
            embd_pdrop: 0.1,
            attn_pdrop: 0.1,
            layer_norm_epsilon: 1e-5,
            initializer_range: 0.02,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            tie_word_embeddings: true,
        }
    }
}

impl Gpt2Config {
    /// Reads `config.json`, or the one in a model folder.
    ///
    /// # Errors
    /// Fails with the file and the field.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let path = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
        read_config(&path, from_json)
    }

    /// Returns the attention scale of `layer`, counted from 0; `None` for the default `1 /
    /// sqrt(head_dim)`.
    pub(super) fn attention_scale(&self, layer: i64) -> Option<f64> {
        if self.scale_attn_weights && !self.scale_attn_by_inverse_layer_idx {
            return None;
        }
        let by_width =
            if self.scale_attn_weights { (self.head_dim() as f64).powf(-0.5) } else { 1.0 };
        let by_layer = if self.scale_attn_by_inverse_layer_idx { (layer + 1) as f64 } else { 1.0 };
        Some(by_width / by_layer)
    }

    /// Returns the size of an attention head.
    #[must_use]
    pub fn head_dim(&self) -> i64 {
        self.n_embd / self.n_head
    }

    /// Returns the feed-forward size.
    #[must_use]
    pub fn inner(&self) -> i64 {
        self.n_inner.unwrap_or(4 * self.n_embd)
    }

    /// Validates the settings.
    ///
    /// Deserialisation calls it; call it for a hand-made config before
    /// [`Gpt2::new`](super::Gpt2::new).
    ///
    /// # Errors
    /// Fails with the field and the problem.
    pub fn check(&self) -> Result<(), String> {
        check_sizes(&[
            ("vocab_size", self.vocab_size, MAX_SIZE),
            ("n_positions", self.n_positions, MAX_SIZE),
            ("n_embd", self.n_embd, MAX_SIZE),
            ("n_layer", self.n_layer, MAX_LAYERS),
            ("n_head", self.n_head, MAX_SIZE),
            ("n_inner", self.n_inner.unwrap_or(1), MAX_SIZE),
        ])?;
        if self.n_embd % self.n_head != 0 {
            return Err(format!(
                "the hidden size (n_embd) {} is not a multiple of the attention heads (n_head) {}",
                self.n_embd, self.n_head
            ));
        }
        let rates = [
            ("resid_pdrop", self.resid_pdrop),
            ("embd_pdrop", self.embd_pdrop),
            ("attn_pdrop", self.attn_pdrop),
        ];
        for (name, rate) in rates {
            if !(0.0..1.0).contains(&rate) {
                return Err(format!("{name} is {rate}; it must be from 0 to below 1"));
            }
        }
        check_scale("layer_norm_epsilon", self.layer_norm_epsilon)?;
        check_scale("initializer_range", self.initializer_range)?;
        check_parameters(self.parameters())
    }

    /// Returns how many tokens can follow a prompt of `prompt_tokens`.
    ///
    /// The last of them takes no position, as it is not read.
    #[must_use]
    pub fn tokens_after(&self, prompt_tokens: i64) -> usize {
        usize::try_from(self.n_positions - prompt_tokens + 1).unwrap_or(0)
    }

    /// Returns the number of values in the large matrices, without biases and norms.
    #[must_use]
    pub fn parameters(&self) -> u128 {
        let wide = |size: i64| size.unsigned_abs().into();
        let (hidden, inner): (u128, u128) = (wide(self.n_embd), wide(self.inner()));
        let block = hidden * (4 * hidden + 2 * inner);
        let matrices = if self.tie_word_embeddings { 1 } else { 2 };
        hidden * (matrices * wide(self.vocab_size) + wide(self.n_positions))
            + block * wide(self.n_layer)
    }
}

/// Entries of `config.json`: the settings above, and those with a single supported value.
#[derive(Serialize, Deserialize)]
#[serde(default)]
#[allow(clippy::struct_excessive_bools, reason = "the format is Hugging Face's")]
struct Fields {
    model_type: String,
    architectures: Option<Vec<String>>,
    vocab_size: i64,
    n_positions: i64,
    n_embd: i64,
    n_layer: i64,
    n_head: i64,
    n_inner: Option<i64>,
    activation_function: String,
    resid_pdrop: f64,
    embd_pdrop: f64,
    attn_pdrop: f64,
    layer_norm_epsilon: f64,
    initializer_range: f64,
    scale_attn_weights: bool,
    scale_attn_by_inverse_layer_idx: bool,
    add_cross_attention: bool,
    tie_word_embeddings: bool,
}

impl Default for Fields {
    fn default() -> Self {
        Gpt2Config::default().into()
    }
}

impl From<Gpt2Config> for Fields {
    fn from(config: Gpt2Config) -> Self {
        Self {
            model_type: "gpt2".to_owned(),
            architectures: Some(vec!["GPT2LMHeadModel".to_owned()]),
            vocab_size: config.vocab_size,
            n_positions: config.n_positions,
            n_embd: config.n_embd,
            n_layer: config.n_layer,
            n_head: config.n_head,
            n_inner: config.n_inner,
            activation_function: config.activation_function.name().to_owned(),
            resid_pdrop: config.resid_pdrop,
            embd_pdrop: config.embd_pdrop,
            attn_pdrop: config.attn_pdrop,
            layer_norm_epsilon: config.layer_norm_epsilon,
            initializer_range: config.initializer_range,
            scale_attn_weights: config.scale_attn_weights,
            scale_attn_by_inverse_layer_idx: config.scale_attn_by_inverse_layer_idx,
            add_cross_attention: false,
            tie_word_embeddings: config.tie_word_embeddings,
        }
    }
}

impl TryFrom<Fields> for Gpt2Config {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        if fields.model_type != "gpt2" {
            return Err(format!("model_type is {:?}, not \"gpt2\"", fields.model_type));
        }
        if fields.add_cross_attention {
            return Err("add_cross_attention is true; only false is supported".to_owned());
        }
        let config = Self {
            vocab_size: fields.vocab_size,
            n_positions: fields.n_positions,
            n_embd: fields.n_embd,
            n_layer: fields.n_layer,
            n_head: fields.n_head,
            n_inner: fields.n_inner,
            activation_function: Activation::from_name(&fields.activation_function)?,
            resid_pdrop: fields.resid_pdrop,
            embd_pdrop: fields.embd_pdrop,
            attn_pdrop: fields.attn_pdrop,
            layer_norm_epsilon: fields.layer_norm_epsilon,
            initializer_range: fields.initializer_range,
            scale_attn_weights: fields.scale_attn_weights,
            scale_attn_by_inverse_layer_idx: fields.scale_attn_by_inverse_layer_idx,
            tie_word_embeddings: fields.tie_word_embeddings,
        };
        config.check()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn parse(text: &str) -> Result<Gpt2Config, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn absent_fields_take_the_defaults_and_unknown_ones_are_passed_over() {
        assert_eq!(parse("{}").unwrap(), Gpt2Config::default());
        let text = r#"{"n_embd": 48, "n_head": 6, "n_ctx": 9, "task_specific_params": {"a": []}}"#;
        let config = parse(text).unwrap();
        assert_eq!(
            (config.n_embd, config.n_head, config.head_dim(), config.inner()),
            (48, 6, 8, 192)
        );
    }

    #[test]
    fn written_configs_are_read_back() {
        let config = Gpt2Config {
            n_inner: Some(100),
            activation_function: Activation::Gelu,
            attn_pdrop: 0.3,
            scale_attn_by_inverse_layer_idx: true,
            tie_word_embeddings: false,
            ..Gpt2Config::default()
        };
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains(r#""model_type":"gpt2""#), "{text}");
        assert_eq!(parse(&text).unwrap(), config);
    }

    #[test]
    fn unsupported_settings_are_rejected_by_name() {
        let refused = [
            ("add_cross_attention", "true"),
            ("activation_function", "\"silu\""),
            ("model_type", "\"gpt_neo\""),
        ];
        for (name, value) in refused {
            let error = parse(&format!("{{\"{name}\": {value}}}")).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn configs_as_python_writes_them_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let text = r#"{"torch_dtype": "float16", "dtype": "float16", "n_inner": null, "n_embd": 64,
            "n_head": 4, "summary_first_dropout": NaN, "rope": -Infinity,
            "reorder_and_upcast_attn": true, "activation_function": "gelu_pytorch_tanh"}"#;
        fs::write(folder.path().join("config.json"), text).unwrap();
        let config = Gpt2Config::open(folder.path()).unwrap();
        assert_eq!((config.n_embd, config.inner()), (64, 256));
        assert_eq!(config.activation_function, Activation::GeluPytorchTanh);
        assert_eq!(config.attention_scale(3), None);
    }

    #[test]
    fn attention_is_scaled_by_width_and_layer_as_the_config_says() {
        let scale = |by_width, by_layer| {
            let config = Gpt2Config {
                scale_attn_weights: by_width,
                scale_attn_by_inverse_layer_idx: by_layer,
                ..Gpt2Config::default()
            };
            config.attention_scale(3)
        };
        assert_eq!(scale(true, false), None);
        assert_eq!(scale(true, true), Some(0.125 / 4.0));
        assert_eq!(scale(false, true), Some(0.25));
        assert_eq!(scale(false, false), Some(1.0));
    }

    #[test]
    fn invalid_sizes_are_rejected_by_name() {
        let refused = [
            ("n_embd", "770", "n_head"),
            ("n_embd", "0", "n_embd"),
            ("n_head", "-12", "n_head"),
            ("n_layer", "0", "n_layer"),
            ("n_layer", "9000000000000000000", "n_layer"),
            ("n_inner", "0", "n_inner"),
            ("vocab_size", "2000000000", "parameters"),
            ("n_layer", "1000", "parameters"),
            ("n_layer", "1000000000", "n_layer is 1000000000"),
            ("n_positions", "1.5", "1.5"),
            ("attn_pdrop", "1.0", "attn_pdrop"),
            ("embd_pdrop", "-0.1", "embd_pdrop"),
            ("layer_norm_epsilon", "0", "layer_norm_epsilon"),
            ("initializer_range", "-1", "initializer_range"),
        ];
        for (name, value, word) in refused {
            let error = parse(&format!("{{\"{name}\": {value}}}")).unwrap_err();
            assert!(error.contains(word), "{name} {value}: {error}");
        }
    }

    #[test]
    fn a_folder_without_a_config_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Gpt2Config::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains("hint:"), "{error}");
        fs::write(folder.path().join("config.json"), "{").unwrap();
        let error = Gpt2Config::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("config.json: "), "{error}");
    }
}
