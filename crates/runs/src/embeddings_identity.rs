//! What embeddings are of: two sets with the same identity and names are interchangeable.

use std::fmt;
use std::str::FromStr;

use pictures::Preprocessing;
use serde::{Deserialize, Serialize};

/// The floating-point type that the model computes in. Embeddings are stored as f32 whichever it is:
/// both shorter types convert to it exactly, and what reads the file meets one type.
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
            .ok_or_else(|| format!("\"{name}\" is not a type; say f32, f16 or bf16"))
    }
}

/// The kind of network that makes embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// CLIP's vision tower.
    Clip,
    /// VGG-16 up to fc7.
    Vgg,
}

/// What embeddings were made with and from; written into their file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Where the model came from, as given: for people, not compared.
    pub model: String,
    /// The digest of the model's weights.
    pub model_sha256: String,
    /// What was done to the pixels before the model saw them.
    pub preprocessing: Preprocessing,
    /// Whether each embedding was divided by its L2 norm, in f32.
    pub normalize: bool,
    /// What the model computed in.
    pub dtype: Dtype,
    /// The data set's digest ([`datasets::Corpus::fingerprint`]).
    pub dataset_fingerprint: String,
    /// Values in one embedding.
    pub dimension: usize,
}

impl Identity {
    /// The network that they are of, told by its preprocessing.
    #[must_use]
    pub fn network(&self) -> Network {
        if self.preprocessing == Preprocessing::imagenet() { Network::Vgg } else { Network::Clip }
    }

    /// What of `other` is not as here, a line each: `dtype: f32 there, f16 here`.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let preprocessing = |identity: &Self| {
            let Preprocessing { size, crop, mean, std, filter, rescale_factor } =
                &identity.preprocessing;
            format!(
                "size {size}, crop {crop}, factor {rescale_factor}, mean {mean:?}, std {std:?}, \
                 filter {filter:?}"
            )
        };
        let rows = [
            ("model weights (sha256)", other.model_sha256.clone(), self.model_sha256.clone()),
            ("preprocessing", preprocessing(other), preprocessing(self)),
            ("normalize", other.normalize.to_string(), self.normalize.to_string()),
            ("dtype", other.dtype.to_string(), self.dtype.to_string()),
            (
                "data set fingerprint",
                other.dataset_fingerprint.clone(),
                self.dataset_fingerprint.clone(),
            ),
            ("dimension", other.dimension.to_string(), self.dimension.to_string()),
        ];
        let different = rows.into_iter().filter(|(_, there, here)| there != here);
        different.map(|(what, there, here)| format!("{what}: {there} there, {here} here")).collect()
    }
}
