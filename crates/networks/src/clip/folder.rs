//! Hugging Face folders of CLIP models, read and written.

use std::path::Path;

use serde_json::json;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::{ClipConfig, ClipModel, Towers};
use crate::error::ModelError;
use crate::layers::{Builder, InitialWeights};
use crate::weights::{self, Checkpoint};

/// Channel means and standard deviations of `OpenAI`'s training images, used by every CLIP.
const IMAGE_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const IMAGE_STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

/// Buffers that transformers before 4.31 stored among the weights.
const BUFFERS: [&str; 2] =
    ["text_model.embeddings.position_ids", "vision_model.embeddings.position_ids"];

/// CLIP model loaded from a folder.
#[derive(Debug)]
pub struct LoadedClip {
    /// Model with frozen weights.
    pub model: ClipModel,
    /// Tensors of the file that the model does not use; transformers ignores them too.
    pub ignored: Vec<String>,
    checkpoint: Checkpoint,
}

impl LoadedClip {
    /// Reads `config.json` and weights of a folder onto `device` as `kind`, a floating-point type.
    ///
    /// `path` is the folder, or a weight file in it.
    ///
    /// A tower absent from both config and weights is left out. After locked-image tuning there is
    /// no vision tower: see [`ClipConfig::image_encoder`].
    ///
    /// # Errors
    /// Fails if a file cannot be read, or a tensor is missing or misshapen.
    pub fn from_folder(path: &Path, device: Device, kind: Kind) -> Result<Self, ModelError> {
        Self::load(path, device, kind, Towers::Both)
    }

    /// Reads only the vision tower and its projection; see [`Self::from_folder`].
    ///
    /// # Errors
    /// [`ModelError::NoTower`] if there is none, and those of [`Self::from_folder`].
    pub fn vision_from_folder(path: &Path, device: Device, kind: Kind) -> Result<Self, ModelError> {
        Self::load(path, device, kind, Towers::Vision)
    }

    /// Reads only the text tower and its projection; see [`Self::from_folder`].
    ///
    /// # Errors
    /// [`ModelError::NoTower`] if there is none, and those of [`Self::from_folder`].
    pub fn text_from_folder(path: &Path, device: Device, kind: Kind) -> Result<Self, ModelError> {
        Self::load(path, device, kind, Towers::Text)
    }

    fn load(path: &Path, device: Device, kind: Kind, needed: Towers) -> Result<Self, ModelError> {
        let mut config = ClipConfig::from_folder(folder_of(path)?)?;
        let checkpoint = Checkpoint::open(path)?;
        if config.towers == Towers::Both {
            config.towers = towers(&checkpoint);
        }
        let no_tower = |tower| ModelError::NoTower { path: checkpoint.path().to_owned(), tower };
        let left_out: &[&str] = match (needed, config.towers) {
            (Towers::Vision, Towers::Text) => return Err(no_tower("vision tower")),
            (Towers::Text, Towers::Vision) => return Err(no_tower("text tower")),
            (Towers::Vision, Towers::Both) => &["text_model.", "text_projection.", "logit_scale"],
            (Towers::Text, Towers::Both) => &["vision_model.", "visual_projection.", "logit_scale"],
            _ => &[],
        };
        if !left_out.is_empty() {
            config.towers = needed;
        }
        let mut store = VarStore::new(device);
        store.set_kind(kind);
        let mut model =
            ClipModel::build(&Builder::new(store.root(), InitialWeights::Zeros), &config)?;
        let is_skipped = |name: &str| {
            BUFFERS.contains(&name) || left_out.iter().any(|start| name.starts_with(start))
        };
        let ignored = weights::load_allowing_unused(&store, &checkpoint, is_skipped)?;
        store.freeze();
        drop(store);
        model.pack();
        Ok(Self { model, ignored, checkpoint })
    }

    /// Returns the SHA-256 of the weight files; see [`Checkpoint::identity`]. Reads them whole.
    #[must_use]
    pub fn identity(&self) -> String {
        self.checkpoint.identity()
    }
}

/// Returns the model folder, given the folder or a weight file in it.
///
/// # Errors
/// [`ModelError::NoFolder`] for a file without `config.json` in its folder.
pub fn folder_of(path: &Path) -> Result<&Path, ModelError> {
    if !path.is_file() {
        return Ok(path);
    }
    match path.parent() {
        Some(folder) if folder.join("config.json").is_file() => Ok(folder),
        _ => Err(ModelError::NoFolder(path.to_owned())),
    }
}

/// Returns the towers that the weights hold; both if none, so that loading reports what is missing.
fn towers(checkpoint: &Checkpoint) -> Towers {
    let has = |tower: &str| checkpoint.names().any(|name| name.starts_with(tower));
    match (has("vision_model."), has("text_model.")) {
        (true, false) => Towers::Vision,
        (false, true) => Towers::Text,
        _ => Towers::Both,
    }
}

/// Writes `config.json`, `preprocessor_config.json` and `model.safetensors` of the CLIP in `store`.
///
/// [`LoadedClip::from_folder`] and transformers can read them. The `words` crate writes the
/// tokenizer's files.
///
/// A CLIP after locked-image tuning has no `preprocessor_config.json`. The metadata of its weights
/// describe the locked encoder too, so that their SHA-256 covers it.
///
/// # Errors
/// Fails with the file that cannot be written.
pub fn save_folder(folder: &Path, store: &VarStore, config: &ClipConfig) -> Result<(), ModelError> {
    durable::create_dir_all(folder)?;
    let mut metadata = weights::metadata_of_transformers();
    if let Some(encoder) = &config.image_encoder {
        metadata.insert("image_encoder".to_owned(), json!(encoder.identity).to_string());
    } else {
        let preprocessor = format!("{:#}\n", preprocessor(config.vision_config.image_size));
        durable::write(&folder.join("preprocessor_config.json"), preprocessor.as_bytes())?;
    }
    let config = serde_json::Value::from(config.clone());
    durable::write(&folder.join("config.json"), format!("{config:#}\n").as_bytes())?;
    let tensors: Vec<(String, Tensor)> = store.variables().into_iter().collect();
    weights::save(&folder.join("model.safetensors"), &tensors, &metadata)?;
    Ok(())
}

/// Returns the contents of `preprocessor_config.json` for images of `size` x `size` pixels.
fn preprocessor(size: i64) -> serde_json::Value {
    json!({
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": true,
        "do_resize": true, "size": {"shortest_edge": size}, "resample": 3,
        "do_center_crop": true, "crop_size": {"height": size, "width": size},
        "do_rescale": true, "rescale_factor": 1.0 / 255.0,
        "do_normalize": true, "image_mean": IMAGE_MEAN, "image_std": IMAGE_STD,
    })
}
