//! Resolution of model names to paths, fetching models from the hub as needed.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use foreign_text::{first_of, printable, printable_path};
use hub::{ModelFiles, ModelReference, Options};
use keywords::SentenceEncoder;
use precompute::{Dtype, EncoderError, EncoderSource, ImageEncoder, Network};
use progress::Silent;
use runs::Provenance;
use tch::Device;

use crate::terminal::{self, Bar};

/// Returns the path of the model that `text` names, downloading its missing files.
pub fn find(text: &str, needed: ModelFiles) -> anyhow::Result<PathBuf> {
    let reference = ModelReference::parse(text)?;
    hub::resolve(&reference, needed, &Options::from_environment()?, &mut Bar::default())
        .with_context(|| {
            let model = printable(text);
            match reference {
                ModelReference::Hub(_) if !text.starts_with("hf:") => {
                    format!("cannot find the model {model}: no such folder is here, nor can it be had from the hub")
                }
                _ => format!("cannot find the model {model}"),
            }
        })
}

/// Returns true if `text` is a path that does not exist.
pub fn is_missing(text: &str) -> bool {
    matches!(ModelReference::parse(text), Ok(ModelReference::Local(path)) if !path.exists())
}

/// Returns the path of the model that `text` names, if it can be had without a network.
pub fn downloaded(text: &str, needed: ModelFiles) -> anyhow::Result<Option<PathBuf>> {
    let options = Options { offline: true, ..Options::from_environment()? };
    Ok(hub::resolve(&ModelReference::parse(text)?, needed, &options, &mut Silent).ok())
}

/// Default sentence encoder.
pub const SENTENCE_MODEL: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// Loads the sentence encoder that `model` names.
pub fn sentence_encoder(model: &str, device: Device) -> anyhow::Result<SentenceEncoder> {
    let folder = find(model, ModelFiles::LanguageModel)?;
    SentenceEncoder::load(&folder, device).with_context(|| {
        format!("cannot load the sentence encoder from {}", printable_path(&folder))
    })
}

/// Returns the files that an image encoder needs; fails if capsmith has no such encoder.
pub fn encoder_files(network: Network) -> Result<ModelFiles, EncoderError> {
    match network {
        Network::Clip => Ok(ModelFiles::ClipVision),
        Network::Vgg | Network::EfficientNetLite => Ok(ModelFiles::File),
        Network::Imported => Err(EncoderError::Imported),
    }
}

/// Finds the files of an image encoder, and of the encoder before a CLIP of locked-image tuning.
pub fn encoder_source(
    network: Network,
    model: &str,
    dtype: Dtype,
) -> anyhow::Result<EncoderSource> {
    let folder = Path::new(model);
    if network == Network::Clip
        && folder.is_dir()
        && let Some(locked) = precompute::locked_identity(folder)?
    {
        let encoder =
            encoder_source(locked.network, &locked.model, locked.dtype).with_context(|| {
                let encoder = printable(&locked.model);
                format!("{} projects features of {encoder}", printable_path(folder))
            })?;
        let (path, locked) = (folder.to_owned(), Some(Box::new(encoder)));
        return Ok(EncoderSource { network, path, dtype, locked });
    }
    let path = find(model, encoder_files(network)?)?;
    Ok(EncoderSource { network, path, dtype, locked: None })
}

/// Returns the network of a run's embeddings.
///
/// Imported runs do not record it: they use CLIP, unless `--encoder` alone is given.
pub fn network(provenance: &Provenance, clip: Option<&str>, encoder: Option<&str>) -> Network {
    match &provenance.embeddings {
        Some(identity) => identity.network,
        None if encoder.is_some() && clip.is_none() => Network::EfficientNetLite,
        None => Network::Clip,
    }
}

/// Returns the name and files of the image encoder that computed a run's embeddings.
///
/// `moved`, the value of the option called `option`, replaces the name in the run's provenance; it
/// names an encoder of the kind `network`.
pub fn image_encoder(
    run: &Path,
    provenance: &Provenance,
    network: Network,
    option: &str,
    moved: Option<&str>,
) -> anyhow::Result<(String, EncoderSource)> {
    let identity = provenance.embeddings.as_ref();
    let Some(model) = moved.or(identity.map(|identity| identity.model.as_str())) else {
        bail!(
            "{} was imported and does not record its image encoder\nhint: name the folder of its CLIP with --clip; ClipCap's checkpoints use ViT-B/32, the paper's ViT-L/14; an EfficientNet-Lite is named with --encoder",
            printable_path(run)
        );
    };
    encoder_files(network).with_context(|| {
        let encoder = printable(identity.map_or(model, |identity| identity.model.as_str()));
        format!("the run {} was trained on features of {encoder}", printable_path(run))
    })?;
    let dtype = identity.map_or(Dtype::F32, |identity| identity.dtype);
    let source = encoder_source(network, model, dtype).with_context(|| {
        format!(
            "the run {} needs the image encoder that it was trained with; name it with {option}",
            printable_path(run)
        )
    })?;
    Ok((model.to_owned(), source))
}

/// Prints the unused tensors of an image encoder's weights, as transformers does.
pub fn note_ignored(model: &str, encoder: &ImageEncoder) {
    if !encoder.ignored().is_empty() {
        let names = first_of(encoder.ignored());
        terminal::say(&format!("note: {model} has tensors that CLIP does not use: {names}"));
    }
}
