//! `capsmith dataset check` and `capsmith dataset draw`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::bail;
use clap::Subcommand;
use datasets::{Corpus, Layout, Part, Split, SplitError, SplitKind, SplitSpec};
use foreign_text::printable_path;
use progress::{Progress, Unit};
use recipes::Config;

use crate::data_set::{CaptionFiles, SplitOptions};
use crate::terminal::{self, Bar};

#[derive(Subcommand)]
pub enum Command {
    /// Report the contents and defects of a data set; fail if it is broken or no split applies.
    ///
    /// Reads Flickr8k, Flickr30k, COCO or pictures of your own in any known layout, and decodes
    /// every picture on all cores. Reports the layout and its files, the numbers of pictures and
    /// captions, split sizes, caption lengths, and missing or unreadable pictures.
    Check(CheckArgs),
    /// Draw a data set of simple scenes with five captions each, in Kaggle's Flickr8k layout.
    Draw(DrawArgs),
}

#[derive(clap::Args)]
pub struct CheckArgs {
    /// Data set: folder of pictures and captions, or tar archives of both such as
    /// 'shards/{000..100}.tar'.
    #[arg(required_unless_present = "config")]
    dataset: Option<PathBuf>,
    #[command(flatten)]
    captions: CaptionFiles,
    /// Check the data set and the split of a config.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dataset", "layout", "captions",
        "image_column", "caption_column", "images", "split"])]
    config: Option<PathBuf>,
    /// Split to check: paper, official, karpathy, lists, given, or shares such as 80/10/10.
    /// [default: every split that the data set has files for]
    #[arg(long)]
    split: Option<SplitKind>,
    #[command(flatten)]
    options: SplitOptions,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Default options of a drawn data set.
pub const DRAWN: demo_data::Options =
    demo_data::Options { count: 600, seed: 1, size: 128, alt_texts: 0 };

#[derive(clap::Args)]
pub struct DrawArgs {
    /// Folder to write.
    #[arg(long)]
    out: PathBuf,
    /// Number of pictures
    #[arg(long, default_value_t = DRAWN.count)]
    count: usize,
    /// Random seed of the pictures and captions
    #[arg(long, default_value_t = DRAWN.seed)]
    seed: u64,
    /// Width and height of a picture, in pixels
    #[arg(long, default_value_t = DRAWN.size)]
    size: u32,
    /// Extra short captions per picture, such as "picture of a dog.", to pretrain CLIP on
    #[arg(long, default_value_t = DRAWN.alt_texts)]
    alt_texts: usize,
}

pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Check(args) => check(&args),
        Command::Draw(DrawArgs { out, count, seed, size, alt_texts }) => {
            draw(&out, &demo_data::Options { count, seed, size, alt_texts })
        }
    }
}

fn check(args: &CheckArgs) -> anyhow::Result<()> {
    let config = args.config.as_ref().map(|file| Config::load(file, &[])).transpose()?;
    let (source, chosen) = if let Some(Config { data, .. }) = &config {
        (data.source()?, Some(data.split_spec()))
    } else {
        let dataset = args.dataset.clone().unwrap_or_default();
        let chosen = args.split.map(|kind| args.options.spec(kind));
        (args.captions.source(&dataset), chosen)
    };
    let corpus = source.load()?;
    let specs = split_specs(&corpus, chosen, &args.options)?;
    let total = corpus.images.len() as u64;
    let bar = Mutex::new(Bar::new("checking pictures", Unit::Count("pictures"), total));
    let audit = datasets::audit(&corpus, &specs, |done| show(&bar, done));
    drop(bar);
    if args.json {
        terminal::print(&format!("{}\n", serde_json::to_string_pretty(&audit)?))?;
    } else {
        terminal::print(&audit.to_string())?;
    }
    if audit.is_broken() {
        bail!("{} is broken; the report above lists its defects", printable_path(&source.dataset));
    }
    if !audit.has_split() {
        bail!(
            "no split applies to {}, so no run can be trained on it yet; the report above says why",
            printable_path(&source.dataset)
        );
    }
    Ok(())
}

/// Returns the chosen split, after checking that it exists, or all splits.
///
/// Without a choice, leaves out the splits `lists`, `given` and `karpathy-no-restval` if the data
/// set does not have them.
fn split_specs(
    corpus: &Corpus,
    chosen: Option<SplitSpec>,
    options: &SplitOptions,
) -> anyhow::Result<Vec<SplitSpec>> {
    if let Some(chosen) = chosen {
        Split::new(corpus, &chosen)?;
        return Ok(vec![chosen]);
    }
    let is_shown = |spec: &SplitSpec| match spec.kind {
        SplitKind::Given if corpus.layout == Layout::Karpathy => false,
        SplitKind::KarpathyNoRestVal => {
            corpus.images.iter().any(|image| image.part == Some(Part::RestVal))
        }
        SplitKind::Lists | SplitKind::Given => {
            !matches!(Split::new(corpus, spec), Err(SplitError::NoLists { .. }))
        }
        _ => true,
    };
    Ok(SplitKind::NAMED.map(|kind| options.spec(kind)).into_iter().filter(is_shown).collect())
}

/// Updates a progress bar from any thread.
fn show(bar: &Mutex<Bar>, done: usize) {
    bar.lock().unwrap_or_else(PoisonError::into_inner).position(done as u64);
}

/// Draws a data set unless the folder has it already.
pub fn draw(out: &Path, options: &demo_data::Options) -> anyhow::Result<()> {
    let bar = Mutex::new(Bar::new("drawing", Unit::Count("pictures"), options.count as u64));
    let summary = demo_data::draw(out, options, |done| show(&bar, done))?;
    drop(bar);
    let verb = if summary.was_there { "already drawn" } else { "drawn" };
    terminal::say(&format!(
        "{}: {} pictures and {} captions {verb}",
        printable_path(out),
        summary.pictures,
        summary.captions
    ));
    Ok(())
}
