//! Import of a ClipCap checkpoint as a run folder.
//!
//! ClipCap's training script saves `gpt.*`, a Hugging Face GPT-2, and `clip_project.*`, either
//! mapper. Prefixes of wrappers and another name of the GPT-2 are recognised. Sizes are inferred
//! from shapes. The run folder appears only after all of it has been read back into a model.

mod names;
mod shapes;
mod weights;

use std::fs;
use std::path::Path;

use durable::StagedFolder;
use durable::digests;
use foreign_text::printable_path;
use networks::gpt2::Gpt2Config;
use networks::prefix::{self, CaptionerInitialWeights, ClipCaptioner, MapperConfig};
use networks::weights::WeightsError;
use recipes::{ClipPrefix, Config, System};
use runs::checkpoints::{self, Position};
use runs::{Provenance, RunFolder};
use shapes::Sizes;
use tch::{Device, nn};
use weights::Weights;

use crate::checkpoint;
use crate::error::Error;
use crate::exported_settings::ExportedSettings;
use crate::inputs::load_tokenizer;
use crate::language_model;

pub(crate) use names::{EMBEDDING, HEAD};

/// Checkpoint to import, with the settings that it does not contain.
#[derive(Debug)]
pub struct Import<'a> {
    /// File that `torch.save` or safetensors wrote.
    pub file: &'a Path,
    /// Configuration of the run; the file's mapper replaces its own.
    pub config: Config,
    /// Folder with the tokenizer of the captions.
    pub tokenizer: &'a Path,
    /// Number of GPT-2's attention heads; by default that of [`ExportedSettings`], else one for each
    /// 64 of the hidden size.
    pub heads: Option<i64>,
    /// Run folder to create.
    pub out: &'a Path,
}

/// Result of an import.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Language model, with its sizes from the shapes.
    pub gpt2: Gpt2Config,
    /// Configuration of the run.
    pub config: Config,
    /// Length of an image embedding.
    pub clip_dim: usize,
    /// Number of imported weights.
    pub tensors: usize,
}

/// Fails if `file` holds no weights of a captioner.
///
/// # Errors
/// Names the file.
pub fn check(file: &Path) -> Result<(), Error> {
    Weights::find(file).map(drop)
}

/// Creates a finished run with the checkpoint's weights as f32, without optimizer moments.
///
/// # Errors
/// Names the file and every tensor that is missing, unknown, of a wrong shape or not finite. Fails
/// for a tokenizer with more tokens than there are embeddings. Leaves nothing at `out` on failure.
pub fn import(import: &Import) -> Result<Imported, Error> {
    refuse_existing(import.out)?;
    let weights = Weights::find(import.file)?;
    let exported = ExportedSettings::read(import.file)?.map(|settings| settings.gpt2);
    let heads = import.heads.or(exported.as_ref().map(|gpt2| gpt2.n_head));
    let Sizes { gpt2, mapper, clip_dim } = weights.sizes(heads, &exported.unwrap_or_default())?;
    let system = ClipPrefix { mapper, ..import.config.clip_prefix()?.clone() };
    let config = Config { system: System::ClipPrefix(system), ..import.config.clone() };
    let tokenizer = load_tokenizer(import.tokenizer, gpt2.vocab_size)?;
    let provenance = Provenance {
        capsmith: env!("CARGO_PKG_VERSION").to_owned(),
        clip_dim,
        gpt2_sha256: Some(digests::of_file(import.file)?),
        threads: crate::state::cpu_threads(config.training.threads),
        device: config.training.device.clone(),
        ..Provenance::default()
    };
    let imported = Imported { gpt2, config, clip_dim, tensors: weights.count() };

    let staging = staged(import.out)?;
    let run = RunFolder::new(staging.path());
    language_model::save(&run, &imported.gpt2, &tokenizer)?;
    let finished = Position { finished: true, ..Position::default() };
    checkpoint::save_model(&run.checkpoints(), &finished, &weights.read()?)?;
    read_back(&run, import.file, &imported)?;
    run.begin_as(import.out, &imported.config, &provenance)?;
    staging.keep(import.out)?;
    Ok(imported)
}

/// Loads the imported weights into a model, strictly; errors name the file `source`.
fn read_back(run: &RunFolder, source: &Path, imported: &Imported) -> Result<(), Error> {
    let checkpoint = checkpoints::newest(&run.checkpoints())?;
    let mut store = nn::VarStore::new(Device::Cpu);
    let mapper = MapperConfig::new(&imported.config.clip_prefix()?.mapper, imported.clip_dim);
    let _captioner = ClipCaptioner::with_initial(
        store.root(),
        &imported.gpt2,
        &mapper,
        CaptionerInitialWeights::ZEROS,
    );
    prefix::load(&mut store, &checkpoint::weights(&checkpoint)?).map_err(|error| match error {
        WeightsError::Mismatch { report, .. } => Error::Mismatch(format!(
            "{} is not a ClipCap checkpoint that can be imported; its tensors do not fit the model of its sizes\n{report}hint: save model.state_dict() of ClipCap's ClipCaptionModel",
            printable_path(source)
        )),
        WeightsError::NotFinite { name, value, .. } => {
            WeightsError::NotFinite { path: source.to_owned(), name, value }.into()
        }
        other => other.into(),
    })
}

/// Creates a temporary folder next to `out`.
pub(crate) fn staged(out: &Path) -> Result<StagedFolder, Error> {
    if out.file_name().is_none() {
        return Err(Error::RunFile {
            path: out.to_owned(),
            reason: "this names no folder; give --out a name".into(),
        });
    }
    Ok(StagedFolder::beside(out)?)
}

/// Fails if something exists at `out`.
pub(crate) fn refuse_existing(out: &Path) -> Result<(), Error> {
    if fs::symlink_metadata(out).is_err() {
        return Ok(());
    }
    Err(Error::RunFile {
        path: out.to_owned(),
        reason: "exists, and nothing is overwritten; choose another --out, or move it away".into(),
    })
}
