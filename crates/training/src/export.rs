//! A run's newest weights as Python reads them.

use std::path::Path;
use std::str::FromStr;

use networks::weights;
use tch::Device;

use crate::checkpoint::{self, Which};
use crate::error::Error;
use crate::import::{EMBEDDING, HEAD, Staging, refuse_existing};
use crate::run_folder::{RunFolder, write_json, write_tensors};

/// The language model's names begin so in ClipCap's checkpoints, and without it in Hugging Face's.
const LANGUAGE_MODEL: &str = "gpt.";

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The language model alone, as a folder for transformers' `from_pretrained`.
    HuggingFace,
    /// All weights as one safetensors file with ClipCap's names, for a strict `load_state_dict`.
    ClipCap,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "huggingface" => Ok(Self::HuggingFace),
            "clipcap" => Ok(Self::ClipCap),
            _ => Err(format!("\"{name}\" is no format; say huggingface or clipcap")),
        }
    }
}

/// Writes the newest checkpoint of a run to `out`, whole or not at all.
///
/// # Errors
/// `out` exists; the run has no whole checkpoint; a file cannot be written.
pub fn export(run: &RunFolder, format: Format, out: &Path) -> Result<(), Error> {
    refuse_existing(out)?;
    run.config()?.clip_prefix()?;
    let file = checkpoint::find(&run.checkpoints(), Which::Newest)?.weights()?;
    match format {
        Format::HuggingFace => huggingface(run, &file, out),
        Format::ClipCap => clipcap(&file, out),
    }
}

fn huggingface(run: &RunFolder, file: &weights::Checkpoint, out: &Path) -> Result<(), Error> {
    let (config, tokenizer) = run.language_model()?;
    let tensors = file
        .names()
        .filter_map(|name| Some((name, name.strip_prefix(LANGUAGE_MODEL)?)))
        .map(|(name, theirs)| Ok((theirs.to_owned(), file.tensor(name, Device::Cpu)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    let staging = Staging::beside(out)?;
    tokenizer.save(&staging.path)?;
    write_json(&staging.path.join("config.json"), &config)?;
    write_tensors(&staging.path.join("model.safetensors"), &tensors)?;
    staging.keep(out)
}

fn clipcap(file: &weights::Checkpoint, out: &Path) -> Result<(), Error> {
    let mut tensors = file
        .names()
        .map(|name| Ok((name.to_owned(), file.tensor(name, Device::Cpu)?)))
        .collect::<Result<Vec<_>, Error>>()?;
    // PyTorch has the tied weight under both names.
    tensors.push((HEAD.to_owned(), file.tensor(EMBEDDING, Device::Cpu)?));
    if let Some(parent) = out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        durable::create_dir_all(parent)?;
    }
    write_tensors(out, &tensors)
}
