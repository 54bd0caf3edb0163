//! CLIP folders as Hugging Face has them, read and written.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::{ClipConfig, ClipError, ClipModel};
use crate::layers::Builder;
use crate::weights::{self, Checkpoint};

/// Means and deviations of the channels of `OpenAI`'s training pictures, which every CLIP's
/// preprocessing subtracts and divides by.
const IMAGE_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const IMAGE_STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

/// Buffers that versions of transformers before 4.31 stored among the weights.
const BUFFERS: [&str; 2] =
    ["text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"];

/// A CLIP with the weights of a folder.
#[derive(Debug)]
pub struct LoadedClip {
    /// The model. Its weights are frozen: no gradient reaches them.
    pub model: ClipModel,
    checkpoint: Checkpoint,
}

impl LoadedClip {
    /// Reads `config.json` and `model.safetensors` (or its shards and their index) of `folder` onto
    /// `device`, converting the weights to `kind`, a floating-point type.
    ///
    /// # Errors
    /// Names the file, and every tensor that is missing, unexpected or misshapen.
    pub fn from_folder(folder: &Path, device: Device, kind: Kind) -> Result<Self, ClipError> {
        let config = ClipConfig::from_folder(folder)?;
        let checkpoint = Checkpoint::open(folder)?;
        let mut store = VarStore::new(device);
        store.set_kind(kind);
        let model = ClipModel::build(&Builder::new(store.root(), false), &config)?;
        weights::load(&mut store, &checkpoint, ToOwned::to_owned, |name| BUFFERS.contains(&name))?;
        store.freeze();
        Ok(Self { model, checkpoint })
    }

    /// What these weights are, whatever they are called: see [`Checkpoint::identity`]. Reads the
    /// whole file.
    #[must_use]
    pub fn identity(&self) -> String {
        self.checkpoint.identity()
    }
}

/// Writes the `config.json`, `preprocessor_config.json` and `model.safetensors` of the CLIP whose
/// variables are `store`'s, so that [`LoadedClip::from_folder`] and transformers read it. The
/// tokenizer's files are the `words` crate's part.
///
/// # Errors
/// Names the file that could not be written.
pub fn save_folder(folder: &Path, store: &VarStore, config: &ClipConfig) -> Result<(), ClipError> {
    durable::create_dir_all(folder)?;
    let size = config.vision_config.image_size;
    let preprocessor = json!({
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": true,
        "do_resize": true, "size": {"shortest_edge": size}, "resample": 3,
        "do_center_crop": true, "crop_size": {"height": size, "width": size},
        "do_rescale": true, "rescale_factor": 1.0 / 255.0,
        "do_normalize": true, "image_mean": IMAGE_MEAN, "image_std": IMAGE_STD,
    });
    let config = serde_json::Value::from(config.clone());
    durable::write(&folder.join("config.json"), format!("{config:#}\n").as_bytes())?;
    let preprocessor = format!("{preprocessor:#}\n");
    durable::write(&folder.join("preprocessor_config.json"), preprocessor.as_bytes())?;
    let tensors: Vec<(String, Tensor)> = store.variables().into_iter().collect();
    // transformers refuses files that do not say so.
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    weights::save(&folder.join("model.safetensors"), &tensors, &metadata)?;
    Ok(())
}
