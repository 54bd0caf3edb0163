//! `capsmith dataset check` and `capsmith dataset draw`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::bail;
use clap::Subcommand;
use datasets::{Corpus, Layout, Split, SplitKind, SplitSpec};
use foreign_text::printable_path;
use progress::{Progress, Unit};

use crate::terminal::{self, Bar};

#[derive(Subcommand)]
pub enum Command {
    /// Report the contents and defects of a data set; fail if it is broken.
    ///
    /// Reads Flickr8k or Flickr30k in any of their layouts (Kaggle's captions.txt, the original
    /// *.token files, Karpathy's JSON, tar archives) and decodes every picture on all cores.
    /// Reports the numbers of pictures and captions, split sizes, caption lengths, and missing or
    /// unreadable pictures.
    Check(CheckArgs),
    /// Draw a data set of simple scenes with five captions each, in Kaggle's Flickr8k layout.
    Draw(DrawArgs),
}

#[derive(clap::Args)]
pub struct CheckArgs {
    /// Folder of the data set: captions and a folder of pictures.
    dataset: PathBuf,
    /// Layout of the captions. [default: detected from the folder]
    #[arg(long, value_name = "kaggle|original|karpathy|webdataset")]
    layout: Option<Layout>,
    /// Split to check. [default: every split that the folder has files for]
    #[arg(long, value_name = "paper|official|karpathy")]
    split: Option<SplitKind>,
    /// Captions in the test set of the paper split
    #[arg(long, default_value_t = 5000)]
    test_captions: usize,
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
    let corpus = Corpus::load(&args.dataset, args.layout)?;
    let specs = split_specs(&corpus, args)?;
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
        bail!("{} is broken; the report above lists its defects", printable_path(&args.dataset));
    }
    Ok(())
}

/// Returns the named split, after checking that it exists, or all splits.
fn split_specs(corpus: &Corpus, args: &CheckArgs) -> anyhow::Result<Vec<SplitSpec>> {
    let spec = |kind| SplitSpec { kind, test_captions: args.test_captions, validation_captions: 0 };
    let Some(kind) = args.split else {
        return Ok([SplitKind::Paper, SplitKind::Official, SplitKind::Karpathy].map(spec).to_vec());
    };
    Split::new(corpus, &spec(kind))?;
    Ok(vec![spec(kind)])
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
