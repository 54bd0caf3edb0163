//! `capsmith evaluate`: a run's test split, or whatever `caption-eval evaluate` scores.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use caption_metrics::cli::{EvaluateArgs, print_scores};
use caption_metrics::{Options, Tokenizer};
use networks::device::parse_device;
use training::evaluate::{Scored, evaluate_run};
use training::run_folder::RunFolder;

use crate::terminal;

/// Caption and score a run's test split, or score captions made by anybody.
///
/// Scores are pycocoevalcap's; unless told otherwise on raw strings, as the paper scores.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Run folder: captions its test split, lower-cased, and writes predictions and scores under
    /// evaluation/.
    #[arg(
        long,
        conflicts_with_all = ["references", "predictions", "json", "per_image", "bootstrap"]
    )]
    run: Option<PathBuf>,
    /// Control: caption each test picture from another one's embedding, shuffled by this seed.
    #[arg(long, value_name = "SEED", requires = "run")]
    shuffle_embeddings: Option<u64>,
    /// Device for a run: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    #[command(flatten)]
    files: EvaluateArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let Some(run) = &args.run else {
        if args.files.command.is_none() && args.files.references.is_none() {
            bail!("name a run with --run, or files with --references and --predictions");
        }
        return Ok(caption_metrics::cli::evaluate(&args.files, &mut out)?);
    };
    let options = args.files.scoring.options()?;
    let scored = evaluate(run, &args.device, args.shuffle_embeddings, &options)?;
    terminal::say(&format!("files in {}", scored.folder.display()));
    Ok(print_scores(&scored.evaluation, &mut out)?)
}

/// Captions and scores a run's test split with a progress bar.
pub fn evaluate(
    run: &Path,
    device: &str,
    shuffle_seed: Option<u64>,
    options: &Options,
) -> anyhow::Result<Scored> {
    let device = parse_device(device)?;
    let folder = RunFolder::open(run)?;
    let bar = terminal::bar(0, "captioning");
    let progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let scored = evaluate_run(&folder, device, shuffle_seed, options, progress)
        .with_context(|| format!("cannot evaluate {}", run.display()))?;
    bar.finish_and_clear();
    Ok(scored)
}

/// The paper's protocol, raw strings, with what needs no download.
pub fn paper_protocol() -> Options {
    Options { tokenizer: Tokenizer::None, ..Options::default() }
}
