//! Locked encoders: the image encoders before CLIPs of locked-image tuning (LiT).

use std::path::Path;

use networks::ModelError;
use networks::clip::{self, ClipConfig, LoadedClip, LockedEncoder};
use networks::normalized;
use runs::{Identity, Network};
use serde_json::{Map, Value, json};
use tch::{Device, Kind};

use crate::error::{Error, OtherFeatures};
use crate::finished::Embeddings;

/// Returns the description of the encoder of these features, for a CLIP's `config.json`.
#[must_use]
pub fn locked_encoder(identity: &Identity) -> LockedEncoder {
    let mut entries = match json!(identity) {
        Value::Object(entries) => entries,
        _ => Map::new(),
    };
    entries.remove("dimension");
    LockedEncoder { dimension: identity.dimension as i64, identity: entries }
}

/// Returns the identity of the features that the CLIP in a folder was trained on, by LiT.
///
/// `None` for a CLIP with a vision tower of its own.
///
/// # Errors
/// Names the config that cannot be read.
pub fn locked_identity(path: &Path) -> Result<Option<Identity>, ModelError> {
    let folder = clip::folder_of(path)?;
    identity_in(&ClipConfig::from_folder(folder)?, folder)
}

pub(crate) fn identity_in(
    config: &ClipConfig,
    folder: &Path,
) -> Result<Option<Identity>, ModelError> {
    let Some(encoder) = &config.image_encoder else { return Ok(None) };
    serde_json::from_value(json!(encoder)).map(Some).map_err(|error| ModelError::InvalidConfig {
        path: folder.join("config.json"),
        reason: format!("image_encoder: {error}"),
    })
}

/// Projects features by a CLIP of locked-image tuning, and writes the embeddings to `output`.
///
/// `model` is the name of the CLIP at `path`. The features must be of the encoder that the CLIP
/// was trained on; they may be of another data set. The embeddings have the features' pictures.
///
/// # Errors
/// Names the differences from the CLIP's encoder, or the file that cannot be written.
pub fn project(
    features: &Embeddings,
    model: &str,
    path: &Path,
    normalize: bool,
    output: &Path,
) -> Result<(), Error> {
    let clip = LoadedClip::from_folder(path, Device::Cpu, Kind::Float)?;
    let given = features.identity();
    let trained = identity_in(clip.model.config(), path)?.ok_or_else(|| {
        Error::Plan(format!(
            "{model} has a vision tower of its own and projects no features\nhint: leave out \
             --image-features"
        ))
    })?;
    let differences = Identity {
        dataset_fingerprint: given.dataset_fingerprint.clone(),
        upright: given.upright,
        ..trained.clone()
    }
    .differences(given);
    if !differences.is_empty() {
        return Err(Error::OtherFeatures(Box::new(OtherFeatures {
            path: features.path().to_owned(),
            model: model.to_owned(),
            encoder: trained.model,
            differences,
        })));
    }
    let rows = features.tensor(Device::Cpu)?;
    let rows = tch::no_grad(|| clip.model.project_features(&rows))?;
    let rows = if normalize { normalized(&rows)? } else { rows };
    let identity = Identity {
        network: match given.network {
            Network::Imported => Network::Imported,
            _ => Network::Clip,
        },
        model: model.to_owned(),
        model_sha256: clip.identity(),
        normalize,
        dimension: clip.model.config().projection_dim as usize,
        ..given.clone()
    };
    features.with_rows(output, &identity, &rows)
}
