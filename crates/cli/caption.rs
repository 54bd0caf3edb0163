//! `capsmith caption`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use flickr::Preprocessing;
use networks::device::parse_device;
use precompute::Dtype;
use rayon::prelude::*;
use training::captioner::Captioner;
use training::run_folder::RunFolder;

use crate::precompute::ImageEncoder;
use crate::terminal;

/// Caption pictures with a trained run.
///
/// Prints a line for each picture: its path, a tab, its caption.
#[derive(clap::Args)]
pub struct Args {
    /// Run folder that `capsmith train` wrote.
    #[arg(long)]
    run: PathBuf,
    /// Pictures: JPEG, PNG, WebP, GIF or BMP.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// CLIP's folder, where it has moved since the embeddings were computed.
    #[arg(long)]
    clip: Option<PathBuf>,
    /// Device: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Leave out pictures that cannot be read, naming them.
    #[arg(long)]
    skip_corrupt: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let device = parse_device(&args.device)?;
    let captioner = Captioner::load(&RunFolder::open(&args.run)?, device)?;
    let identity = captioner.provenance.embeddings.as_ref();
    let known = identity.map(|identity| PathBuf::from(&identity.model));
    let Some(clip) = args.clip.clone().or(known) else {
        bail!(
            "{} was imported, and nothing in it says which CLIP it was trained on; name its folder with --clip (ClipCap's own take ViT-B/32, the paper's ViT-L/14)",
            args.run.display()
        );
    };
    let dtype = identity.map_or(Dtype::F32, |identity| identity.dtype);
    let encoder = ImageEncoder::load(&clip, device, dtype)
        .with_context(|| format!("cannot load the CLIP that the run was trained on from {} (say where it is with --clip)", clip.display()))?;
    if encoder.dimension() != captioner.provenance.clip_dim {
        bail!(
            "{} makes embeddings of {} values, but the run's mapper takes {}; name another CLIP with --clip",
            clip.display(),
            encoder.dimension(),
            captioner.provenance.clip_dim
        );
    }
    if identity.is_some_and(|identity| encoder.sha256() != identity.model_sha256) {
        bail!(
            "{} is not the CLIP that the run was trained on (its weights have another SHA-256); name the right folder with --clip",
            clip.display()
        );
    }
    let normalize = captioner.config.data.normalize_embeddings
        || identity.is_some_and(|identity| identity.normalize);
    let bar = terminal::bar(args.images.len() as u64, "captioning");
    for images in args.images.chunks(captioner.config.decoding.batch_size) {
        let (paths, pictures) = read_pictures(images, args.skip_corrupt, encoder.preprocessing())?;
        if !paths.is_empty() {
            let mut embeddings = encoder.encode_all(&pictures)?;
            if normalize {
                embeddings = training::inputs::normalized(&embeddings);
            }
            let captions = captioner.caption(&embeddings, |_| {})?;
            bar.suspend(|| {
                paths.iter().zip(captions).try_for_each(|(path, caption)| {
                    terminal::print(&format!("{}\t{caption}\n", path.display()))
                })
            })?;
        }
        bar.inc(images.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Paths and preprocessed pixels of the pictures that can be read.
fn read_pictures<'a>(
    images: &'a [PathBuf],
    skip_corrupt: bool,
    preprocessing: &Preprocessing,
) -> anyhow::Result<(Vec<&'a Path>, Vec<Vec<f32>>)> {
    let read: Vec<_> = images
        .par_iter()
        .map(|path| flickr::decode(path).map(|pixels| preprocessing.apply(&pixels)))
        .collect();
    let mut paths = Vec::new();
    let mut pictures = Vec::new();
    for (path, result) in images.iter().zip(read) {
        match result {
            Ok(pixels) => {
                paths.push(path.as_path());
                pictures.push(pixels);
            }
            Err(error) if skip_corrupt => terminal::say(&format!("left out: {error}")),
            Err(error) => {
                bail!("{error}\nhint: --skip-corrupt leaves out pictures that cannot be read")
            }
        }
    }
    Ok((paths, pictures))
}
