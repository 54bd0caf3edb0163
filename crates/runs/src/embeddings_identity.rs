//! Identity of embeddings: two sets with the same identity and names are interchangeable.

use std::fmt;
use std::str::FromStr;

use durable::kept::Key;
use pictures::Preprocessing;
use serde::{Deserialize, Serialize};

/// Name of [`Identity::upright`] in keys.
const ORIENTATION: &str = "EXIF orientation";

/// Floating-point type of the model's weights and activations.
///
/// Embeddings are always stored as f32: both shorter types convert to it exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// 16 bits (IEEE half precision), 10 of which are mantissa.
    F16,
    /// 16 bits (bfloat16): the exponent of f32 and 7 bits of mantissa.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// CLIP's vision tower.
    Clip,
    /// VGG-16 up to fc7.
    Vgg,
    /// EfficientNet-Lite up to its pooled features.
    #[serde(rename = "efficientnet-lite")]
    EfficientNetLite,
    /// Encoder of another program, which capsmith cannot run; it imported the embeddings.
    Imported,
}

/// Model, preprocessing and data set of embeddings, written into their file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredIdentity")]
pub struct Identity {
    /// Kind of the encoder.
    pub network: Network,
    /// Model as the user named it, for messages. Compared only if the embeddings were imported.
    pub model: String,
    /// SHA-256 of the model's weights, or of the files that embeddings were imported from.
    pub model_sha256: String,
    /// Preprocessing of the pixels; `None` if the embeddings were imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
    /// True if pictures were turned upright by their EXIF orientation.
    ///
    /// Older files do not have it: their pictures were not turned.
    #[serde(skip_serializing_if = "is_false")]
    pub upright: bool,
    /// True if each embedding was divided by its L2 norm, in f32.
    pub normalize: bool,
    /// Type of the model's weights and activations.
    pub dtype: Dtype,
    /// Digest of the data set: `Corpus::fingerprint` of the crate `datasets`.
    pub dataset_fingerprint: String,
    /// Number of values in one embedding.
    pub dimension: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Identity in a file; files of version 0.2 and earlier have no `network`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredIdentity {
    network: Option<Network>,
    model: String,
    model_sha256: String,
    preprocessing: Option<Preprocessing>,
    #[serde(default)]
    upright: bool,
    normalize: bool,
    dtype: Dtype,
    dataset_fingerprint: String,
    dimension: usize,
}

impl From<StoredIdentity> for Identity {
    fn from(stored: StoredIdentity) -> Self {
        let StoredIdentity { network, model, model_sha256, preprocessing, .. } = stored;
        let inferred = match &preprocessing {
            None => Network::Imported,
            Some(preprocessing) if *preprocessing == Preprocessing::imagenet() => Network::Vgg,
            Some(_) => Network::Clip,
        };
        Self {
            network: network.unwrap_or(inferred),
            model,
            model_sha256,
            preprocessing,
            upright: stored.upright,
            normalize: stored.normalize,
            dtype: stored.dtype,
            dataset_fingerprint: stored.dataset_fingerprint,
            dimension: stored.dimension,
        }
    }
}

impl Identity {
    /// Returns everything that two sets of embeddings must agree on, by name.
    #[must_use]
    pub fn key(&self) -> Key {
        let mut key = vec![
            ("model weights (sha256)", self.model_sha256.clone()),
            ("normalize", self.normalize.to_string()),
            ("dtype", self.dtype.to_string()),
            ("data set fingerprint", self.dataset_fingerprint.clone()),
            ("dimension", self.dimension.to_string()),
        ];
        if let Some(preprocessing) = &self.preprocessing {
            let Preprocessing { size, crop, mean, std, filter, rescale_factor } = preprocessing;
            key.push((
                "preprocessing",
                format!(
                    "size {size}, crop {crop}, factor {rescale_factor}, mean {mean:?}, \
                     std {std:?}, filter {filter:?}"
                ),
            ));
        }
        // Without it, keys of older versions stay equal.
        if self.upright {
            key.push((ORIENTATION, "applied".to_owned()));
        }
        // Nothing but its name tells two imported encoders apart.
        if self.network == Network::Imported {
            key.push(("encoder", self.model.clone()));
        }
        Key::new(key)
    }

    /// Returns a line for each difference from `other`, such as `dtype: f32 there, f16 here`.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let differences = self.key().differences(&other.key()).into_iter();
        let name = |line: String| match line.strip_prefix(ORIENTATION) {
            Some(values) => format!("{ORIENTATION}{}", values.replace("nothing", "not applied")),
            None => line,
        };
        differences.map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &str) -> Identity {
        let text = format!(
            r#"{{"model": "m", "model_sha256": "0", "normalize": false, "dtype": "f32",
                "dataset_fingerprint": "1", "dimension": 24{more}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn older_files_have_the_network_of_their_preprocessing() {
        let preprocessed = |preprocessing: &Preprocessing| {
            let json = serde_json::to_string(preprocessing).unwrap();
            read(&format!(r#", "preprocessing": {json}"#)).network
        };
        assert_eq!(preprocessed(&Preprocessing::clip(224)), Network::Clip);
        assert_eq!(preprocessed(&Preprocessing::imagenet()), Network::Vgg);
    }

    #[test]
    fn imported_embeddings_differ_by_the_name_of_their_encoder() {
        let dino = read(r#", "network": "imported""#);
        assert_eq!((dino.network, &dino.preprocessing), (Network::Imported, &None));
        let again = serde_json::from_str(&serde_json::to_string(&dino).unwrap()).unwrap();
        assert_eq!(dino, again);
        let other = Identity { model: "other".to_owned(), ..dino.clone() };
        assert_eq!(dino.differences(&other), ["encoder: other there, m here"]);
    }
}
