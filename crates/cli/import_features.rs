//! `capsmith import-features`.

use std::path::{Path, PathBuf};

use clap::builder::NonEmptyStringValueParser;
use datasets::Source;
use foreign_text::{first_of, printable, printable_path};
use training::features;

use crate::data_set::DataSet;
use crate::{precompute, terminal};

/// Import image features of any program as an embeddings file of a data set.
///
/// Runs train on them as on those of `precompute`. To caption pictures outside the data set, a run
/// needs an encoder that capsmith has.
///
/// Formats: numpy's .npy with --names; .npz with the arrays `names` and `features` or `embeddings`;
/// .safetensors with a JSON array `names` in its metadata, or with --names; the output folder of
/// clip-retrieval; a ClipCap pickle. Names are those of the data set's pictures, or paths to them,
/// with or without extension. No code in the files is executed.
#[derive(clap::Args)]
pub struct Args {
    /// Files or folders with the features, in the order of the names.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Text file with the name of each row's picture, one a line.
    #[arg(long)]
    names: Option<PathBuf>,
    #[command(flatten)]
    data_set: DataSet,
    /// Name of the encoder that computed the features; runs on features of another name are
    /// refused.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    encoder: String,
    /// Embeddings file (.safetensors) to write.
    #[arg(long)]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let names = args.names.as_deref();
    import_and_report(&args.files, names, &args.data_set.source(), &args.encoder, &args.out)
}

/// Imports features, and prints what was left out.
pub fn import_and_report(
    files: &[PathBuf],
    names: Option<&Path>,
    data_set: &Source,
    encoder: &str,
    out: &Path,
) -> anyhow::Result<()> {
    precompute::refuse_other_format(out)?;
    let imported = features::import(files, names, data_set, encoder, out)?;
    for skipped in &imported.skipped {
        terminal::say(&format!("skipped {}: {}", printable(&skipped.name), skipped.reason));
    }
    if !imported.unknown.is_empty() {
        terminal::say(&format!(
            "note: names that are no pictures of the data set: {} ({}); their features are left out",
            imported.unknown.len(),
            first_of(&imported.unknown)
        ));
    }
    terminal::say(&format!(
        "{}: {} embeddings of {} values{}, {} pictures without one",
        printable_path(out),
        imported.pictures,
        imported.identity.dimension,
        if imported.identity.normalize { ", normalised" } else { "" },
        imported.skipped.len()
    ));
    Ok(())
}
