//! Identity of embeddings: two sets with the same identity and names are interchangeable.

use std::fmt;
use std::str::FromStr;

use durable::kept::Key;
use pictures::Preprocessing;
use serde::{Deserialize, Serialize};

/// Floating-point type of the model's weights and activations.
///
/// Embeddings are always stored as f32: both shorter types convert to it exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// 16 bits, 10 of them after the point.
    F16,
    /// 16 bits, with the range of f32.
    Bf16,
}

impl fmt::Display for Dtype {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for Dtype {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::F32, Self::F16, Self::Bf16]
            .into_iter()
            .find(|dtype| dtype.to_string() == name)
            .ok_or_else(|| format!("unknown type \"{name}\"; use f32, f16 or bf16"))
    }
}

/// Kind of network that computes embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// CLIP's vision tower.
    Clip,
    /// VGG-16 up to fc7.
    Vgg,
}

/// Model, preprocessing and data set of embeddings, written into their file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Source of the model as the user named it: for people, not compared.
    pub model: String,
    /// SHA-256 of the model's weights.
    pub model_sha256: String,
    /// Preprocessing of the pixels.
    pub preprocessing: Preprocessing,
    /// True if each embedding was divided by its L2 norm, in f32.
    pub normalize: bool,
    /// Type of the model's weights and activations.
    pub dtype: Dtype,
    /// Digest of the data set: `Corpus::fingerprint` of the crate `datasets`.
    pub dataset_fingerprint: String,
    /// Number of values in one embedding.
    pub dimension: usize,
}

impl Identity {
    /// Returns the kind of network, which its preprocessing tells.
    #[must_use]
    pub fn network(&self) -> Network {
        if self.preprocessing == Preprocessing::imagenet() { Network::Vgg } else { Network::Clip }
    }

    /// Returns everything that two sets of embeddings must agree on, by name.
    #[must_use]
    pub fn key(&self) -> Key {
        let Preprocessing { size, crop, mean, std, filter, rescale_factor } = &self.preprocessing;
        Key::new([
            ("model weights (sha256)", self.model_sha256.clone()),
            (
                "preprocessing",
                format!(
                    "size {size}, crop {crop}, factor {rescale_factor}, mean {mean:?}, \
                     std {std:?}, filter {filter:?}"
                ),
            ),
            ("normalize", self.normalize.to_string()),
            ("dtype", self.dtype.to_string()),
            ("data set fingerprint", self.dataset_fingerprint.clone()),
            ("dimension", self.dimension.to_string()),
        ])
    }

    /// Returns a line for each difference from `other`, such as `dtype: f32 there, f16 here`.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        self.key().differences(&other.key())
    }
}
