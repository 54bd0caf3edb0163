//! `capsmith caption`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use foreign_text::{printable, printable_path};
use networks::device::parse_device;
use pictures::Preprocessing;
use precompute::ImageEncoder;
use progress::{Part, Progress, Unit};
use rayon::prelude::*;
use runs::RunFolder;
use tch::Device;
use training::captioner::Captioner;
use training::captions::Caption;

use crate::evaluate::{CaptionOptions, CheckpointChoice};
use crate::terminal::Bar;
use crate::{evaluate, models, terminal};

/// Caption pictures with a trained run.
///
/// Prints a line for each picture: its path, a tab, its caption; line feeds and other characters that
/// move a terminal's cursor are written as `\n` or `\u{1b}`.
#[derive(clap::Args)]
pub struct Args {
    /// Run folder that `capsmith train` wrote.
    #[arg(long)]
    run: PathBuf,
    /// Pictures: JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, PGM or PBM.
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
    let how = CaptionOptions {
        checkpoint: args.checkpoint,
        sets: &args.sets,
        clip: args.clip.as_deref(),
        ..CaptionOptions::default()
    };
    let captioner = evaluate::captioner(&RunFolder::open(&args.run)?, device, &how)?;
    let encoder = encoder(args, &captioner, device)?;
    let selector = captioner.keyword_selector()?;
    let mut bar = Bar::new("captioning", Unit::Count("pictures"), args.images.len() as u64);
    let mut done = 0;
    for images in args.images.chunks(captioner.config.decoding.caption_batch_size(device.is_cuda()))
    {
        let (paths, pictures) = read_pictures(images, args.skip_corrupt, encoder.preprocessing())?;
        if !paths.is_empty() {
            let embeddings = encoder.encode_pictures(&pictures)?;
            let known = captioner.image_inputs(&embeddings, selector.as_ref())?;
            let captions = captioner.caption(&known, &mut Part::new(&mut bar, done))?;
            for (path, mut captions) in paths.iter().zip(captions) {
                captions.sort_by(|a, b| b.score.total_cmp(&a.score));
                terminal::print(&lines(path, &captions, args.all))?;
            }
        }
        done += images.len() as u64;
        bar.position(done);
    }
    bar.finish();
    Ok(())
}

/// `path caption`, or `path score caption` for each of several.
fn lines(path: &Path, captions: &[Caption], all: bool) -> String {
    let shown = if all { captions } else { &captions[..captions.len().min(1)] };
    let mut lines = String::new();
    for Caption { text, score } in shown {
        let score = if all { format!("{score:.4}\t") } else { String::new() };
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}\t{score}{}", printable_path(path), printable(text));
    }
    lines
}

/// The model that the run's embeddings are from.
fn encoder(args: &Args, captioner: &Captioner, device: Device) -> anyhow::Result<ImageEncoder> {
    let (provenance, moved) = (&captioner.provenance, args.clip.as_deref());
    let (model, source) = models::image_encoder(&args.run, provenance, "--clip", moved)?;
    let encoder = ImageEncoder::load(&source, device).with_context(|| {
        format!(
            "cannot load the model that the run was trained on from {} (say where it is with --clip)",
            printable(&model)
        )
    })?;
    models::note_ignored(&model, &encoder);
    captioner.check_encoder(&encoder, &model).context("--clip says where the model is")?;
    Ok(encoder)
}

/// Paths and preprocessed bytes of the pictures that can be read.
fn read_pictures<'a>(
    images: &'a [PathBuf],
    skip_corrupt: bool,
    preprocessing: &Preprocessing,
) -> anyhow::Result<(Vec<&'a Path>, Vec<Vec<u8>>)> {
    let read: Vec<_> = images
        .par_iter()
        .map(|path| pictures::decode(path).map(|pixels| preprocessing.planes(&pixels)))
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
