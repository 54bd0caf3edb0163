//! CLIP folders as Hugging Face has them, read and written.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::{ClipConfig, ClipError, ClipModel, Towers};
use crate::layers::{Builder, Initial};
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
    /// Tensors of the file that the model does without, as transformers does.
    pub ignored: Vec<String>,
    checkpoint: Checkpoint,
}

impl LoadedClip {
    /// Reads `config.json` and the weights of a folder onto `device`, converting the weights to
    /// `kind`, a floating-point type. `path` is the folder, or a file of weights in it.
    ///
    /// A tower that neither the config nor the weights have is left out: see [`Self::with_vision`]
    /// and [`Self::with_text`].
    ///
    /// # Errors
    /// Names the file, and every tensor that is missing or misshapen.
    pub fn from_folder(path: &Path, device: Device, kind: Kind) -> Result<Self, ClipError> {
        let mut config = ClipConfig::from_folder(folder_of(path)?)?;
        let checkpoint = Checkpoint::open(path)?;
        if config.towers == Towers::Both {
            config.towers = towers(&checkpoint);
        }
        let mut store = VarStore::new(device);
        store.set_kind(kind);
        let model = ClipModel::build(&Builder::new(store.root(), Initial::Zeros), &config)?;
        let is_buffer = |name: &str| BUFFERS.contains(&name);
        let ignored = weights::load_and_name_others(&store, &checkpoint, is_buffer)?;
        store.freeze();
        Ok(Self { model, ignored, checkpoint })
    }

    /// Refuses a model without a vision tower.
    ///
    /// # Errors
    /// [`ClipError::NoTower`].
    pub fn with_vision(self) -> Result<Self, ClipError> {
        self.without(Towers::Text, "vision tower")
    }

    /// Refuses a model without a text tower.
    ///
    /// # Errors
    /// [`ClipError::NoTower`].
    pub fn with_text(self) -> Result<Self, ClipError> {
        self.without(Towers::Vision, "text tower")
    }

    fn without(self, refused: Towers, tower: &'static str) -> Result<Self, ClipError> {
        if self.model.config().towers != refused {
            return Ok(self);
        }
        Err(ClipError::NoTower { path: self.checkpoint.path().to_owned(), tower })
    }

    /// What these weights are, whatever they are called: see [`Checkpoint::identity`]. Reads the
    /// whole file.
    #[must_use]
    pub fn identity(&self) -> String {
        self.checkpoint.identity()
    }
}

/// Returns the folder of a model that is given as its folder or as a file of weights in it.
///
/// # Errors
/// [`ClipError::NoFolder`] for a file without `config.json` beside it.
pub fn folder_of(path: &Path) -> Result<&Path, ClipError> {
    if !path.is_file() {
        return Ok(path);
    }
    match path.parent() {
        Some(folder) if folder.join("config.json").is_file() => Ok(folder),
        _ => Err(ClipError::NoFolder(path.to_owned())),
    }
}

/// Returns the towers that weights are of; both where it is neither, so that what is missing is named.
fn towers(checkpoint: &Checkpoint) -> Towers {
    let has = |tower: &str| checkpoint.names().any(|name| name.starts_with(tower));
    match (has("vision_model."), has("text_model.")) {
        (true, false) => Towers::Vision,
        (false, true) => Towers::Text,
        _ => Towers::Both,
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
