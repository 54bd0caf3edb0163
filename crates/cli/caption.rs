//! `capsmith caption`.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use datasets::picture_paths;
use foreign_text::{printable, printable_path};
use launchers::ProcessRank;
use pictures::Preprocessing;
use precompute::{ImageEncoder, Network};
use progress::{Part, Progress, Unit};
use rayon::prelude::*;
use runs::RunFolder;
use tch::Device;
use training::captioner::Captioner;
use training::captions::{Caption, for_people, ranked};
use training::{CaptionOutput, Existing};

use crate::evaluate::{CaptionOptions, CheckpointChoice};
use crate::terminal::Bar;
use crate::{dtype, evaluate, models, run_arg, terminal};

/// Time after which a bar shows the progress.
const PATIENCE: Duration = Duration::from_secs(2);

/// Place of the caption in `--template`.
const CAPTION: &str = "{caption}";

/// Caption pictures with a trained run.
///
/// Prints one line per picture: path, tab, caption. Line feeds and other control characters are
/// escaped as `\n` or `\u{1b}`. With --out or --write, captions go to files instead, and the same
/// command resumes an interrupted one. Pictures that cannot be read are named and counted; the exit
/// code is then 1, and the others are captioned.
#[derive(clap::Args)]
#[allow(clippy::struct_excessive_bools, reason = "an option each")]
#[command(override_usage = "capsmith caption [OPTIONS] RUN PATH...")]
pub struct Args {
    /// Run folder that `capsmith train` wrote.
    #[arg(value_name = "RUN")]
    first: PathBuf,
    /// Pictures, as JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, PGM or PBM; folders of them; or `-` for
    /// paths on standard input, one a line.
    #[arg(value_name = "PATH", required_unless_present = "run")]
    paths: Vec<PathBuf>,
    /// Run folder, if all others are pictures.
    #[arg(long, hide = true)]
    run: Option<PathBuf>,
    /// Look into subfolders, too.
    #[arg(long)]
    recursive: bool,
    /// Write captions to this file, by its extension as CSV, JSON Lines or JSON. Pictures that it
    /// has already are not captioned again.
    #[arg(long, value_name = "captions.csv|jsonl|json", conflicts_with = "write")]
    out: Option<PathBuf>,
    /// Write a text file beside each picture, as trainers of diffusion models read them.
    #[arg(long, value_enum)]
    write: Option<TextFile>,
    /// Treatment of text files that exist: skip their pictures, overwrite them, or append a line.
    #[arg(long, value_enum, default_value = "skip", requires = "write")]
    existing: ExistingChoice,
    /// Text around each caption, such as "sks style, {caption}".
    #[arg(long, default_value = CAPTION, hide_default_value = true, value_parser = template)]
    template: String,
    /// Leave captions as the run writes them, without a capital and with a space before the full
    /// stop.
    #[arg(long)]
    raw: bool,
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
    /// Type of the model's weights and activations. Other types than f32 are faster and take half
    /// the memory; some captions come out differently. [default: the run's, f32]
    #[arg(long, value_parser = dtype::names())]
    dtype: Option<String>,
    /// Checkpoint of the run. [default: newest, or best if the run stops early by the loss
    /// on held-out captions]
    #[arg(long, value_enum)]
    checkpoint: Option<CheckpointChoice>,
    /// Override a decoding setting of the run; may be repeated. Example:
    /// `--set decoding.strategy.kind=beam --set decoding.strategy.num_beams=5`.
    #[arg(long = "set", value_name = "decoding.KEY=VALUE")]
    sets: Vec<String>,
    /// Give every different caption that beam search or sampling finds, best first, with its score:
    /// the mean log-probability of its tokens, or for SBG its CLIP cosine similarity with the
    /// picture.
    #[arg(long)]
    all: bool,
    /// Succeed even if some pictures cannot be read.
    #[arg(long)]
    skip_corrupt: bool,
}

/// Text files beside pictures.
#[derive(Clone, Copy, clap::ValueEnum)]
enum TextFile {
    Txt,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum ExistingChoice {
    Skip,
    Overwrite,
    Append,
}

impl From<ExistingChoice> for Existing {
    fn from(choice: ExistingChoice) -> Self {
        match choice {
            ExistingChoice::Skip => Self::Skip,
            ExistingChoice::Overwrite => Self::Overwrite,
            ExistingChoice::Append => Self::Append,
        }
    }
}

fn template(text: &str) -> Result<String, String> {
    let has_caption = text.contains(CAPTION);
    has_caption.then(|| text.to_owned()).ok_or_else(|| format!("it has no {CAPTION}"))
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let (run, paths) = args.run_and_paths();
    let folder = RunFolder::open(run)?;
    let device = run_arg::device(args.device.as_deref(), &folder, ProcessRank::SINGLE)?;
    let all = picture_paths(&listed(paths)?, args.recursive)?;
    let mut output = args.output()?;
    let has = |picture: &PathBuf| output.as_ref().is_some_and(|output| output.has(picture));
    let pictures: Vec<PathBuf> = all.iter().filter(|picture| !has(picture)).cloned().collect();
    if pictures.len() < all.len() {
        let had = all.len() - pictures.len();
        let other = if args.out.is_some() { "another --out" } else { "--existing overwrite" };
        terminal::say(&format!(
            "{had} of {} pictures have their captions already; for those of another run or with other settings: {other}",
            all.len()
        ));
    }
    if let Some(output) = &output {
        output.check(&pictures)?;
    }
    if pictures.is_empty() {
        return Ok(());
    }
    let dtype = args.dtype.as_ref().map(dtype::setting);
    let sets: Vec<String> = dtype.into_iter().chain(args.sets.iter().cloned()).collect();
    let options = CaptionOptions {
        checkpoint: args.checkpoint,
        sets: &sets,
        clip: args.clip.as_deref(),
        ..CaptionOptions::default()
    };
    let captioner = evaluate::captioner(&folder, device, &options)?;
    let name = printable_path(run).to_string();
    let learned_from = captioner.provenance.learned_from_line(&captioner.config, &name);
    if let Some(line) = learned_from {
        terminal::say(&line);
    }
    let captioned = caption_all(args, &captioner, &pictures, device, output.as_mut());
    // Finished batches are kept, whatever ended the work.
    if let Some(output) = &mut output {
        output.save()?;
    }
    let unreadable = captioned?;
    if unreadable > 0 && !args.skip_corrupt {
        bail!(
            "{unreadable} of {} pictures cannot be read; any others are captioned\nhint: with --skip-corrupt this is no error",
            pictures.len()
        );
    }
    Ok(())
}

/// Captions pictures in batches; returns the number of those that cannot be read.
fn caption_all(
    args: &Args,
    captioner: &Captioner,
    pictures: &[PathBuf],
    device: Device,
    mut output: Option<&mut CaptionOutput>,
) -> anyhow::Result<usize> {
    let encoder = encoder(args, captioner, device)?;
    let selector = captioner.keyword_selector()?;
    let start = Instant::now();
    let mut bar = Bar::default();
    let (mut done, mut unreadable, mut is_shown) = (0, 0, false);
    for batch in pictures.chunks(captioner.config.decoding.caption_batch_size(device.is_cuda())) {
        if !is_shown && start.elapsed() >= PATIENCE {
            bar.start("captioning", Unit::Count("pictures"), Some(pictures.len() as u64), done);
            is_shown = true;
        }
        let (paths, read) = read_pictures(batch, encoder.preprocessing());
        unreadable += batch.len() - paths.len();
        if !paths.is_empty() {
            let embeddings = encoder.encode_pictures(&read)?;
            let known = captioner.image_inputs(&embeddings, selector.as_ref())?;
            let captions = captioner.caption(&known, &mut Part::new(&mut bar, done))?;
            for (path, captions) in paths.iter().zip(captions) {
                let captions = args.shown(captions);
                match &mut output {
                    Some(output) => output.add(path, captions)?,
                    None => terminal::print(&lines(path, &captions, args.all))?,
                }
            }
            if let Some(output) = &mut output {
                output.save_in_time()?;
            }
        }
        done += batch.len() as u64;
        bar.position(done);
    }
    bar.finish();
    Ok(unreadable)
}

impl Args {
    /// Returns the run folder, and the paths of pictures.
    fn run_and_paths(&self) -> (&Path, Vec<PathBuf>) {
        match &self.run {
            None => (&self.first, self.paths.clone()),
            Some(run) => (run, std::iter::once(&self.first).chain(&self.paths).cloned().collect()),
        }
    }

    /// Returns the files that captions go to; `None` prints them.
    fn output(&self) -> anyhow::Result<Option<CaptionOutput>> {
        Ok(match (&self.out, self.write) {
            (Some(path), _) => Some(CaptionOutput::table(path)?),
            (None, Some(TextFile::Txt)) => Some(CaptionOutput::TextFiles(self.existing.into())),
            (None, None) => None,
        })
    }

    /// Returns the captions to show of a picture, best first, with their texts as they are shown.
    fn shown(&self, captions: Vec<Caption>) -> Vec<Caption> {
        let mut captions = ranked(captions);
        if !self.all {
            captions.truncate(1);
        }
        for caption in &mut captions {
            if !self.raw {
                caption.text = for_people(&caption.text);
            }
            caption.text = self.template.replace(CAPTION, &caption.text);
        }
        captions
    }
}

/// Returns the paths, with those on standard input in place of `-`.
fn listed(paths: Vec<PathBuf>) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut list = Vec::new();
            let read = std::io::stdin().read_to_end(&mut list);
            read.context("cannot read the list of pictures on standard input")?;
            let before = all.len();
            all.extend(listed_paths(&list));
            if all.len() == before {
                bail!("standard input names no pictures; write one path a line");
            }
        } else {
            all.push(path);
        }
    }
    Ok(all)
}

/// Returns the paths of a list, one a line, or ended by zero bytes as `find -print0` writes them.
fn listed_paths(list: &[u8]) -> impl Iterator<Item = PathBuf> {
    let list = list.strip_prefix("\u{feff}".as_bytes()).unwrap_or(list);
    let end = if list.contains(&0) { 0 } else { b'\n' };
    let entries = list.split(move |byte| *byte == end);
    let entries = entries.map(move |entry| match end {
        b'\n' => entry.strip_suffix(b"\r").unwrap_or(entry),
        _ => entry,
    });
    entries.filter(|entry| !entry.is_empty()).map(|entry| PathBuf::from(OsStr::from_bytes(entry)))
}

/// Formats `path caption` lines, or `path score caption` lines of all captions.
fn lines(path: &Path, captions: &[Caption], all: bool) -> String {
    let mut lines = String::new();
    for Caption { text, score } in captions {
        let score = if all { format!("{score:.4}\t") } else { String::new() };
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}\t{score}{}", printable_path(path), printable(text));
    }
    lines
}

/// Loads the image encoder that computed the run's embeddings.
fn encoder(args: &Args, captioner: &Captioner, device: Device) -> anyhow::Result<ImageEncoder> {
    let provenance = &captioner.provenance;
    let [clip, encoder] = [("--clip", &args.clip), ("--encoder", &args.encoder)];
    let network = models::network(provenance, args.clip.as_deref(), args.encoder.as_deref());
    let ((option, moved), (other, unused)) = match network {
        Network::EfficientNetLite => (encoder, clip),
        Network::Clip | Network::Vgg | Network::Imported => (clip, encoder),
    };
    if unused.is_some() {
        bail!("{other} does not name the encoder of this run's pictures; {option} does");
    }
    let moved = moved.as_deref();
    let (run, _) = args.run_and_paths();
    let (model, source) = models::image_encoder(run, provenance, network, option, moved)?;
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

/// Returns the paths and preprocessed bytes of the images that can be read, and names the others.
fn read_pictures<'a>(
    images: &'a [PathBuf],
    preprocessing: &Preprocessing,
) -> (Vec<&'a Path>, Vec<Vec<u8>>) {
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
            Err(error) => terminal::say(&format!("warning: skipped: {error}")),
        }
    }
    (paths, pictures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_path_a_line_or_paths_that_end_in_zero_bytes() {
        let listed = |list: &[u8]| {
            let paths = listed_paths(list).map(|path| path.into_os_string().into_encoded_bytes());
            paths.collect::<Vec<_>>()
        };
        for list in [&b"\xef\xbb\xbfa b.jpg\n\n\xe8.jpg\r\n"[..], b"a b.jpg\0\xe8.jpg\0"] {
            assert_eq!(listed(list), [b"a b.jpg".to_vec(), b"\xe8.jpg".to_vec()]);
        }
        assert_eq!(listed(b"a\nb\r\0"), [b"a\nb\r".to_vec()]);
        assert!(listed(b"\n").is_empty());
    }
}
