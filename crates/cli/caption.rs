//! `capsmith caption`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use flickr::Preprocessing;
use hub::Wanted;
use keywords::Keyword;
use networks::device::parse_device;
use precompute::{Dtype, Identity};
use rayon::prelude::*;
use tch::{Device, Tensor};
use training::KeywordSelector;
use training::captioner::{Caption, Captioner, Event, Pictures};
use training::run_folder::RunFolder;

use crate::evaluate::{CheckpointChoice, How};
use crate::precompute::ImageEncoder;
use crate::{evaluate, models, terminal};

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
    /// CLIP's folder or its name at the hub, or VGG-16's file, where it has moved since the embeddings
    /// were computed.
    #[arg(long)]
    clip: Option<String>,
    /// Device: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Which of the run's checkpoints; the newest, or the best where training stops by held-out
    /// captions.
    #[arg(long, value_enum)]
    checkpoint: Option<CheckpointChoice>,
    /// Change how the run decodes, such as `--set decoding.strategy.kind=beam
    /// --set decoding.strategy.beams=5`; may be repeated.
    #[arg(long = "set", value_name = "decoding.KEY=VALUE")]
    sets: Vec<String>,
    /// Print all captions that a beam search or sampling finds for a picture, best first, each with
    /// the mean log-probability of its tokens, or of an SBG run its cosine with the picture by CLIP.
    #[arg(long)]
    all: bool,
    /// Leave out pictures that cannot be read, naming them.
    #[arg(long)]
    skip_corrupt: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let device = parse_device(&args.device)?;
    let how = How {
        checkpoint: args.checkpoint,
        sets: &args.sets,
        clip: args.clip.as_deref(),
        ..How::default()
    };
    let captioner = evaluate::captioner(&RunFolder::open(&args.run)?, device, &how)?;
    let identity = captioner.provenance.embeddings.as_ref();
    let encoder = encoder(args, &captioner, device)?;
    let normalize = captioner.config.data.normalize_embeddings
        || identity.is_some_and(|identity| identity.normalize);
    let selector = captioner.keyword_selector()?;
    let bar = terminal::bar(args.images.len() as u64, "captioning");
    for images in args.images.chunks(captioner.config.decoding.batch_size) {
        let (paths, pictures) = read_pictures(images, args.skip_corrupt, encoder.preprocessing())?;
        if !paths.is_empty() {
            let mut embeddings = encoder.encode_all(&pictures)?;
            if normalize {
                embeddings = training::inputs::normalized(&embeddings);
            }
            let pictures =
                Pictures { keywords: keywords(selector.as_ref(), &embeddings)?, embeddings };
            let captions = captioner.caption(&pictures, |event| {
                if let Event::Note(note) = event {
                    bar.suspend(|| terminal::say(note));
                }
            })?;
            bar.suspend(|| {
                paths.iter().zip(captions).try_for_each(|(path, mut captions)| {
                    captions.sort_by(|a, b| b.score.total_cmp(&a.score));
                    terminal::print(&lines(path, &captions, args.all))
                })
            })?;
        }
        bar.inc(images.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// The keywords of pictures, for systems that write from keywords.
fn keywords(
    selector: Option<&KeywordSelector>,
    embeddings: &Tensor,
) -> anyhow::Result<Option<Vec<Vec<String>>>> {
    let Some(selector) = selector else { return Ok(None) };
    let words = |keywords: Vec<Keyword>| keywords.into_iter().map(|keyword| keyword.word).collect();
    Ok(Some(selector.select(embeddings)?.into_iter().map(words).collect()))
}

/// `path caption`, or `path score caption` for each of several.
fn lines(path: &Path, captions: &[Caption], all: bool) -> String {
    let shown = if all { captions } else { &captions[..captions.len().min(1)] };
    let mut lines = String::new();
    for Caption { text, score } in shown {
        let score = if all { format!("{score:.4}\t") } else { String::new() };
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}\t{score}{text}", path.display());
    }
    lines
}

/// The model that the run's embeddings are from.
fn encoder(args: &Args, captioner: &Captioner, device: Device) -> anyhow::Result<ImageEncoder> {
    let identity = captioner.provenance.embeddings.as_ref();
    let Some(model) = args.clip.as_ref().or(identity.map(|identity| &identity.model)) else {
        bail!(
            "{} was imported, and nothing in it says which CLIP it was trained on; name its folder with --clip (ClipCap's own take ViT-B/32, the paper's ViT-L/14)",
            args.run.display()
        );
    };
    let dtype = identity.map_or(Dtype::F32, |identity| identity.dtype);
    let is_vgg = |identity: &Identity| identity.preprocessing == Preprocessing::imagenet();
    let encoder = if identity.is_some_and(is_vgg) {
        ImageEncoder::load_vgg(&models::find(model, Wanted::File)?, device, dtype)
    } else {
        let clip = models::find(model, Wanted::Clip).context(
            "the run needs the CLIP that it was trained on; say where it is with --clip",
        )?;
        ImageEncoder::load_clip(&clip, device, dtype)
    };
    let encoder = encoder.with_context(|| {
        format!("cannot load the model that the run was trained on from {model} (say where it is with --clip)")
    })?;
    if encoder.dimension() != captioner.provenance.clip_dim {
        bail!(
            "{model} makes embeddings of {} values, but the run takes {}; name another model with --clip",
            encoder.dimension(),
            captioner.provenance.clip_dim
        );
    }
    if identity.is_some_and(|identity| encoder.sha256() != identity.model_sha256) {
        bail!(
            "{model} is not the model that the run was trained on (its weights have another SHA-256); name the right one with --clip"
        );
    }
    Ok(encoder)
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
