//! Resolution of model names to paths, fetching models from the hub as needed.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use foreign_text::{printable, printable_path};
use hub::{ModelFiles, ModelReference, Options};
use precompute::{Dtype, EncoderSource, Identity, ImageEncoder, Network};
use runs::Provenance;

use crate::terminal::{self, Bar};

/// Returns the path of the model that `text` names, fetching its missing files.
pub fn find(text: &str, needed: ModelFiles) -> anyhow::Result<PathBuf> {
    let reference = ModelReference::parse(text)?;
    hub::resolve(&reference, needed, &Options::from_environment()?, &mut Bar::default())
        .with_context(|| format!("cannot find the model {}", printable(text)))
}

/// Returns the files that an image encoder needs.
pub fn encoder_files(network: Network) -> ModelFiles {
    match network {
        Network::Clip => ModelFiles::ClipVision,
        Network::Vgg => ModelFiles::File,
    }
}

/// What a run's embeddings are from; an imported one's from CLIP.
pub fn network(provenance: &Provenance) -> Network {
    provenance.embeddings.as_ref().map_or(Network::Clip, Identity::network)
}

/// The image encoder that a run's embeddings are from, as it is called and where its files are: where
/// they were then, or where they have `moved` by what was given as `option`.
pub fn image_encoder(
    run: &Path,
    provenance: &Provenance,
    option: &str,
    moved: Option<&str>,
) -> anyhow::Result<(String, EncoderSource)> {
    let identity = provenance.embeddings.as_ref();
    let Some(model) = moved.or(identity.map(|identity| identity.model.as_str())) else {
        bail!(
            "{} was imported, and nothing in it says which CLIP it was trained on; name its folder with --clip (ClipCap's own take ViT-B/32, the paper's ViT-L/14)",
            printable_path(run)
        );
    };
    let network = network(provenance);
    let path = find(model, encoder_files(network)).with_context(|| {
        format!(
            "the run {} needs the model that it was trained on; say where it is with {option}",
            printable_path(run)
        )
    })?;
    let dtype = identity.map_or(Dtype::F32, |identity| identity.dtype);
    Ok((model.to_owned(), EncoderSource { network, path, dtype }))
}

/// Names the tensors of an image encoder's weights that it does without, as transformers does.
pub fn note_ignored(model: &str, encoder: &ImageEncoder) {
    if !encoder.ignored().is_empty() {
        let names = training::first_names(encoder.ignored());
        terminal::say(&format!("note: tensors of {model} that CLIP does not use: {names}"));
    }
}
