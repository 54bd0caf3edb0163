//! `capsmith export`.

use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use runs::RunFolder;
use training::export::{Format, export};
use training::pickle;

use crate::terminal;

/// Write a run or embeddings as Python reads them.
///
/// The weights that a run captions with (the best epoch's where training ends on held-out captions,
/// else the newest): its GPT-2 as a Hugging Face folder, or all of them as one safetensors file
/// with ClipCap's names. Or embeddings as ClipCap's pickle. Nothing is overwritten.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["run", "embeddings"])))]
pub struct Args {
    /// Run folder.
    #[arg(long, requires = "format", conflicts_with = "dataset")]
    run: Option<PathBuf>,
    /// What to make of a run.
    #[arg(long, value_name = "huggingface|clipcap", requires = "run")]
    format: Option<Format>,
    /// File of embeddings, from `capsmith precompute`.
    #[arg(long, requires = "dataset")]
    embeddings: Option<PathBuf>,
    /// Data set that the embeddings are of.
    #[arg(long, requires = "embeddings")]
    dataset: Option<PathBuf>,
    /// Folder or file to write.
    #[arg(long)]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if let (Some(run), Some(format)) = (&args.run, args.format) {
        export(&RunFolder::open(run)?, format, &args.out)?;
        terminal::say(&format!("{} is written", printable_path(&args.out)));
    }
    if let (Some(file), Some(dataset)) = (&args.embeddings, &args.dataset) {
        embeddings(file, dataset, &args.out)?;
    }
    Ok(())
}

fn embeddings(file: &Path, dataset: &Path, out: &Path) -> anyhow::Result<()> {
    let (rows, captions) = pickle::export(file, dataset, out)?;
    terminal::say(&format!("{}: {rows} embeddings, {captions} captions", printable_path(out)));
    Ok(())
}
