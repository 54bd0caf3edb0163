//! Resolution of model names to paths, fetching models from the hub as needed.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use foreign_text::{printable, printable_path};
use hub::{DownloadProgress, ModelFiles, ModelReference, Options, Unit};
use precompute::{Dtype, EncoderSource, Identity, ImageEncoder, Network};
use progress::Progress;
use runs::Provenance;

use crate::terminal::{self, Bar};

/// Returns the path of the model that `text` names, downloading its missing files.
pub fn find(text: &str, needed: ModelFiles) -> anyhow::Result<PathBuf> {
    let reference = ModelReference::parse(text)?;
    hub::resolve(&reference, needed, &Options::from_environment()?, &mut DownloadBar::default())
        .with_context(|| format!("cannot find the model {}", printable(text)))
}

/// Returns the files that an image encoder needs.
pub fn encoder_files(network: Network) -> ModelFiles {
    match network {
        Network::Clip => ModelFiles::ClipVision,
        Network::Vgg => ModelFiles::File,
    }
}

/// Returns the encoder of a run's embeddings; imported runs use CLIP.
pub fn network(provenance: &Provenance) -> Network {
    provenance.embeddings.as_ref().map_or(Network::Clip, Identity::network)
}

/// Returns the name and files of the image encoder that computed a run's embeddings.
///
/// `moved`, the value of the option called `option`, replaces the name in the run's provenance.
pub fn image_encoder(
    run: &Path,
    provenance: &Provenance,
    option: &str,
    moved: Option<&str>,
) -> anyhow::Result<(String, EncoderSource)> {
    let identity = provenance.embeddings.as_ref();
    let Some(model) = moved.or(identity.map(|identity| identity.model.as_str())) else {
        bail!(
            "{} was imported and does not record its CLIP\nhint: name its folder with --clip; ClipCap's checkpoints use ViT-B/32, the paper's ViT-L/14",
            printable_path(run)
        );
    };
    let network = network(provenance);
    let path = find(model, encoder_files(network)).with_context(|| {
        format!(
            "the run {} needs the image encoder that it was trained with; name it with {option}",
            printable_path(run)
        )
    })?;
    let dtype = identity.map_or(Dtype::F32, |identity| identity.dtype);
    Ok((model.to_owned(), EncoderSource { network, path, dtype }))
}

/// Prints the unused tensors of an image encoder's weights, as transformers does.
pub fn note_ignored(model: &str, encoder: &ImageEncoder) {
    if !encoder.ignored().is_empty() {
        let names = training::first_names(encoder.ignored());
        terminal::say(&format!("note: {model} has tensors that CLIP does not use: {names}"));
    }
}

/// Returns the folder of the language model that training starts from.
///
/// The weights file of a model folder stands for the folder. A PyTorch checkpoint is imported once,
/// next to the hub's cache.
pub fn find_language_model(text: &str) -> anyhow::Result<PathBuf> {
    let path = find(text, ModelFiles::LanguageModel)?;
    if !path.is_file() {
        return Ok(path);
    }
    let is_in_model_folder =
        path.ends_with("model.safetensors") || path.ends_with("pytorch_model.bin");
    if is_in_model_folder
        && let Some(folder) = path.parent()
        && folder.join("config.json").is_file()
    {
        return Ok(folder.to_owned());
    }
    let imported = Options::from_environment()?.cache.with_file_name("capsmith-imported");
    let run = imported.join(durable::digests::of_file(&path)?);
    if !run.exists() {
        durable::create_dir_all(&imported)?;
        crate::import::captioner(&path, None, None, None, &run)?;
    }
    Ok(run)
}

/// Progress bar of downloads and unpacking.
#[derive(Default)]
pub struct DownloadBar(Bar);

impl DownloadProgress for DownloadBar {
    fn start(&mut self, task: &str, unit: Unit, total: Option<u64>, done: u64) {
        let unit = match unit {
            Unit::Bytes => progress::Unit::Bytes,
            Unit::Files => progress::Unit::Count("files"),
        };
        self.0.start(task, unit, total, done);
    }

    fn position(&mut self, done: u64) {
        self.0.position(done);
    }

    fn finish(&mut self) {
        self.0.finish();
    }

    fn message(&mut self, line: &str) {
        self.0.note(line);
    }
}
