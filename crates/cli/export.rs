//! `capsmith export`.

use std::path::{Path, PathBuf};

use datasets::Source;
use foreign_text::printable_path;
use runs::RunFolder;
use training::export::{Format, export};
use training::pickle;

use crate::data_set::CaptionFiles;
use crate::terminal;

/// Export a run or embeddings in formats that Python reads.
///
/// A run is exported from its best checkpoint if it stops early by the held-out loss, else from its
/// newest: GPT-2 as a Hugging Face folder, or all weights as one safetensors file with ClipCap's
/// tensor names. Embeddings are exported as a ClipCap pickle. Existing files are not overwritten.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["run", "embeddings"])))]
pub struct Args {
    /// Run folder to export.
    #[arg(long, requires = "format", conflicts_with = "dataset")]
    run: Option<PathBuf>,
    /// Format of an exported run.
    #[arg(long, value_name = "huggingface|clipcap", requires = "run")]
    format: Option<Format>,
    /// Embeddings file to export, from `capsmith precompute`.
    #[arg(long, requires = "dataset")]
    embeddings: Option<PathBuf>,
    /// Data set of the embeddings.
    #[arg(long, requires = "embeddings")]
    dataset: Option<PathBuf>,
    #[command(flatten)]
    captions: CaptionFiles,
    /// Folder or file to write.
    #[arg(long)]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    if let (Some(run), Some(format)) = (&args.run, args.format) {
        export(&RunFolder::open(run)?, format, &args.out)?;
        terminal::say(&format!("wrote {}", printable_path(&args.out)));
    }
    if let (Some(file), Some(dataset)) = (&args.embeddings, &args.dataset) {
        embeddings(file, &args.captions.source(dataset), &args.out)?;
    }
    Ok(())
}

fn embeddings(file: &Path, data_set: &Source, out: &Path) -> anyhow::Result<()> {
    let (rows, captions) = pickle::export(file, data_set, out)?;
    terminal::say(&format!(
        "wrote {}: {rows} embeddings, {captions} captions",
        printable_path(out)
    ));
    Ok(())
}
