//! Export of a run's weights for Python.

use std::path::Path;
use std::str::FromStr;

use networks::weights;
use networks::weights::write_tensors;
use networks::{STANDARDIZATION, Standardization};
use runs::RunFolder;
use runs::checkpoints;
use tch::{Device, Tensor};

use crate::checkpoint;
use crate::error::Error;
use crate::exported_settings::ExportedSettings;
use crate::import::{EMBEDDING, HEAD, refuse_existing, staged};
use crate::language_model;

/// Prefix of the language model's names in ClipCap's checkpoints; Hugging Face's have none.
const LANGUAGE_MODEL: &str = "gpt.";

/// First layers of the two mappers, one of which a checkpoint has.
const FIRST_LAYERS: [&str; 2] = ["clip_project.model.0", "clip_project.linear"];

/// Format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The language model alone, as a folder for transformers' `from_pretrained`.
    HuggingFace,
    /// All weights as one safetensors file with ClipCap's names, for a strict `load_state_dict`, and
    /// [`ExportedSettings`] in its header.
    ClipCap,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "huggingface" => Ok(Self::HuggingFace),
            "clipcap" => Ok(Self::ClipCap),
            _ => Err(format!("unknown format \"{name}\"; use huggingface or clipcap")),
        }
    }
}

/// Writes the checkpoint that a run captions with to `out`, whole or not at all.
///
/// # Errors
/// Fails if `out` exists, the run has no whole checkpoint, or a file cannot be written.
pub fn export(run: &RunFolder, format: Format, out: &Path) -> Result<(), Error> {
    refuse_existing(out)?;
    let config = run.config()?;
    config.clip_prefix()?;
    let file =
        checkpoint::weights(&checkpoints::find(&run.checkpoints(), config.usual_checkpoint())?)?;
    match format {
        Format::HuggingFace => huggingface(run, &file, out),
        Format::ClipCap => {
            let (gpt2, _) = language_model::load(run)?;
            let normalize_embeddings = config.data.normalize_embeddings;
            clipcap(&file, &ExportedSettings { gpt2, normalize_embeddings }, out)
        }
    }
}

fn huggingface(run: &RunFolder, file: &weights::Checkpoint, out: &Path) -> Result<(), Error> {
    let (config, tokenizer) = language_model::load(run)?;
    let tensors = file
        .names()
        .filter_map(|name| Some((name, name.strip_prefix(LANGUAGE_MODEL)?)))
        .map(|(name, theirs)| Ok((theirs.to_owned(), file.tensor(name, Device::Cpu)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    let staging = staged(out)?;
    tokenizer.save(staging.path())?;
    durable::write_json(&staging.path().join("config.json"), &config)?;
    write_tensors(&staging.path().join("model.safetensors"), &tensors)?;
    Ok(staging.keep(out)?)
}

fn clipcap(
    checkpoint: &weights::Checkpoint,
    settings: &ExportedSettings,
    out: &Path,
) -> Result<(), Error> {
    let mut tensors = checkpoint
        .names()
        .map(|name| Ok((name.to_owned(), checkpoint.tensor(name, Device::Cpu)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    fold_standardization(&mut tensors);
    // PyTorch has the tied weight under both names.
    if checkpoint.shape(HEAD).is_none() {
        tensors.push((HEAD.to_owned(), checkpoint.tensor(EMBEDDING, Device::Cpu)?));
    }
    let staging = staged(out)?;
    let file = staging.path().join("model.safetensors");
    weights::save(&file, &tensors, &settings.metadata()?)?;
    Ok(staging.keep_file(&file, out)?)
}

/// Replaces a standardisation by a change of the mapper's first layer, since `ClipCap` has none.
fn fold_standardization(tensors: &mut Vec<(String, Tensor)>) {
    let [mean, deviation] = ["mean", "deviation"].map(|name| {
        let name = format!("{STANDARDIZATION}.{name}");
        let at = tensors.iter().position(|(stored, _)| *stored == name)?;
        Some(tensors.swap_remove(at).1)
    });
    let (Some(mean), Some(deviation)) = (mean, deviation) else {
        return;
    };
    let standardization = Standardization::new(mean, deviation);
    for layer in FIRST_LAYERS {
        let tensor = |name| {
            let name = format!("{layer}.{name}");
            tensors.iter().find(|(stored, _)| *stored == name).map(|(_, tensor)| tensor)
        };
        if let (Some(weight), Some(bias)) = (tensor("weight"), tensor("bias")) {
            standardization.fold_into(weight, bias);
        }
    }
}
