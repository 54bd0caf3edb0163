//! `capsmith baseline`: captions without a model, to compare systems with.

use std::path::PathBuf;

use caption_metrics::Tokenizer;
use caption_metrics::cli::{ScoringArgs, print_scores};
use clap::Subcommand;
use foreign_text::printable_path;

use crate::init::TrainingPictures;
use crate::{bounds, terminal};

#[derive(Subcommand)]
pub enum Command {
    /// Caption and score the test pictures by the consensus of their nearest training pictures.
    ///
    /// Takes the caption of the nearest pictures (cosine of embeddings) with the highest mean
    /// similarity to their other captions (Devlin et al. 2015). Similarity is CIDEr without
    /// clipping and length penalty. Captions and references are lower-cased.
    Neighbours(NeighboursArgs),
}

#[derive(clap::Args)]
pub struct NeighboursArgs {
    #[command(flatten)]
    pictures: TrainingPictures,
    /// Embeddings file from `capsmith precompute`.
    #[arg(long)]
    embeddings: PathBuf,
    /// Number of nearest training pictures
    #[arg(long, default_value_t = 60, value_parser = bounds::whole(1..=10_000))]
    neighbours: usize,
    /// Folder to write: predictions.json, references.json, scores.json and per-image.csv.
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    scoring: ScoringArgs,
}

pub fn run(command: &Command) -> anyhow::Result<()> {
    let Command::Neighbours(args) = command;
    let data = args.pictures.data(&args.embeddings)?;
    let options = args.scoring.options(Tokenizer::None, terminal::say)?;
    let evaluation =
        training::neighbours::evaluate_neighbours(&data, args.neighbours, &args.out, &options)?;
    terminal::say(&format!("files in {}", printable_path(&args.out)));
    print_scores(&evaluation.summary, &mut std::io::stdout().lock())?;
    Ok(())
}
