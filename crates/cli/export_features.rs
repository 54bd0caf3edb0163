//! `capsmith export-features`.

use std::path::PathBuf;

use foreign_text::printable_path;
use training::features;

use crate::terminal;

/// Export an embeddings file as numpy's .npy, with the pictures' names in a text file beside it.
///
/// The text file has the name of the .npy file with .txt in its place. Existing files are not
/// overwritten.
#[derive(clap::Args)]
pub struct Args {
    /// Embeddings file of `precompute` or `import-features`.
    file: PathBuf,
    /// File (.npy) to write.
    #[arg(long)]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let (rows, names) = features::export(&args.file, &args.out)?;
    let (out, names) = (printable_path(&args.out), printable_path(&names));
    terminal::say(&format!("wrote {out} and {names}: {rows} embeddings"));
    Ok(())
}
