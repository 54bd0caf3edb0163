//! `capsmith caption`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use foreign_text::{printable, printable_path};
use launchers::ProcessRank;
use pictures::Preprocessing;
use precompute::{ImageEncoder, Network};
use progress::{Part, Progress, Unit};
use rayon::prelude::*;
use runs::RunFolder;
use tch::Device;
use training::captioner::Captioner;
use training::captions::Caption;

use crate::evaluate::{CaptionOptions, CheckpointChoice};
use crate::terminal::Bar;
use crate::{evaluate, models, run_arg, terminal};

/// Caption pictures with a trained run.
///
/// Prints one line per picture: path, tab, caption. Line feeds and other control characters are
/// escaped as `\n` or `\u{1b}`.
#[derive(clap::Args)]
pub struct Args {
    /// Run folder that `capsmith train` wrote.
    #[arg(long)]
    run: PathBuf,
    /// Picture files: JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, PGM or PBM.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Folder or hub name of CLIP, or file of VGG-16, if it has moved since `precompute`. [default:
    /// the one that `precompute` used]
    #[arg(long)]
    clip: Option<String>,
    /// Name or file of EfficientNet-Lite, if it has moved since `precompute`.
    #[arg(long, value_name = "NAME|FILE")]
    encoder: Option<String>,
    /// Device: cpu, cuda or cuda:N. [default: the one that the run was trained on, or the CPU where
    /// that is not available]
    #[arg(long)]
    device: Option<String>,
    /// Checkpoint of the run. [default: newest, or best if the run stops early by validation loss]
    #[arg(long, value_enum)]
    checkpoint: Option<CheckpointChoice>,
    /// Override a decoding setting of the run; may be repeated. Example:
    /// `--set decoding.strategy.kind=beam --set decoding.strategy.num_beams=5`.
    #[arg(long = "set", value_name = "decoding.KEY=VALUE")]
    sets: Vec<String>,
    /// Print every caption that beam search or sampling finds, best first, with its score: the mean
    /// log-probability of its tokens, or for SBG its CLIP cosine similarity with the picture.
    #[arg(long)]
    all: bool,
    /// Skip pictures that cannot be read, and name them.
    #[arg(long)]
    skip_corrupt: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = RunFolder::open(&args.run)?;
    let device = run_arg::device(args.device.as_deref(), &folder, ProcessRank::SINGLE)?;
    let options = CaptionOptions {
        checkpoint: args.checkpoint,
        sets: &args.sets,
        clip: args.clip.as_deref(),
        ..CaptionOptions::default()
    };
    let captioner = evaluate::captioner(&folder, device, &options)?;
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

/// Formats `path caption` lines, or `path score caption` lines of all captions.
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

/// Loads the image encoder that computed the run's embeddings.
fn encoder(args: &Args, captioner: &Captioner, device: Device) -> anyhow::Result<ImageEncoder> {
    let provenance = &captioner.provenance;
    let (option, moved) = match models::network(provenance) {
        Network::EfficientNetLite => ("--encoder", args.encoder.as_deref()),
        Network::Clip | Network::Vgg | Network::Imported => ("--clip", args.clip.as_deref()),
    };
    let (model, source) = models::image_encoder(&args.run, provenance, option, moved)?;
    let encoder = ImageEncoder::load(&source, device).with_context(|| {
        format!(
            "cannot load the run's image encoder from {}\nhint: name its folder or file with {option}",
            printable(&model)
        )
    })?;
    models::note_ignored(&model, &encoder);
    captioner.check_encoder(&encoder, &model).with_context(|| {
        format!(
            "the run was trained on embeddings of another model; name the right one with {option}"
        )
    })?;
    Ok(encoder)
}

/// Returns the paths and preprocessed bytes of the images that can be read.
fn read_pictures<'a>(
    images: &'a [PathBuf],
    skip_corrupt: bool,
    preprocessing: &Preprocessing,
) -> anyhow::Result<(Vec<&'a Path>, Vec<Vec<u8>>)> {
    let read: Vec<_> = images
        .par_iter()
        .map(|path| pictures::decode_upright(path).map(|pixels| preprocessing.planes(&pixels)))
        .collect();
    let mut paths = Vec::new();
    let mut pictures = Vec::new();
    for (path, result) in images.iter().zip(read) {
        match result {
            Ok(pixels) => {
                paths.push(path.as_path());
                pictures.push(pixels);
            }
            Err(error) if skip_corrupt => terminal::say(&format!("skipped: {error}")),
            Err(error) => {
                bail!("{error}\nhint: --skip-corrupt skips pictures that cannot be read")
            }
        }
    }
    Ok((paths, pictures))
}
