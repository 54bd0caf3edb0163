//! `capsmith evaluate`: a run's test split, or whatever `caption-eval evaluate` scores.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use caption_metrics::cli::{EvaluateArgs, print_scores};
use caption_metrics::{Options, Tokenizer};
use clap::ValueEnum;
use networks::device::parse_device;
use training::captioner::Captioner;
use training::checkpoint::Which;
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
    /// Which of the run's checkpoints.
    #[arg(long, value_enum, default_value_t, requires = "run")]
    checkpoint: CheckpointChoice,
    /// Change how the run decodes, such as `--set decoding.max_tokens=40`; may be repeated.
    #[arg(long = "set", value_name = "decoding.KEY=VALUE", requires = "run")]
    sets: Vec<String>,
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
    let how =
        How { checkpoint: args.checkpoint, sets: &args.sets, shuffle: args.shuffle_embeddings };
    let scored = evaluate(run, &args.device, &how, &options)?;
    terminal::say(&format!("files in {}", scored.folder.display()));
    Ok(print_scores(&scored.evaluation, &mut out)?)
}

/// Which of a run's checkpoints.
#[derive(Clone, Copy, Default, ValueEnum)]
pub enum CheckpointChoice {
    /// The newest.
    #[default]
    Newest,
    /// That of the epoch with the lowest loss.
    Best,
}

impl From<CheckpointChoice> for Which {
    fn from(choice: CheckpointChoice) -> Self {
        match choice {
            CheckpointChoice::Newest => Self::Newest,
            CheckpointChoice::Best => Self::Best,
        }
    }
}

/// How a run captions its test split.
#[derive(Default)]
pub struct How<'a> {
    /// Which checkpoint.
    pub checkpoint: CheckpointChoice,
    /// Changes of its decoding.
    pub sets: &'a [String],
    /// For the control, the seed that shuffles embeddings.
    pub shuffle: Option<u64>,
}

/// Captions and scores a run's test split with a progress bar.
pub fn evaluate(run: &Path, device: &str, how: &How, options: &Options) -> anyhow::Result<Scored> {
    let device = parse_device(device)?;
    let folder = RunFolder::open(run)?;
    let captioner = Captioner::load(&folder, device, how.checkpoint.into(), how.sets)?;
    let bar = terminal::bar(0, "captioning");
    let progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let scored = evaluate_run(&folder, &captioner, device, how.shuffle, options, progress)
        .with_context(|| format!("cannot evaluate {}", run.display()))?;
    bar.finish_and_clear();
    Ok(scored)
}

/// The paper's protocol, raw strings, with what needs no download.
pub fn paper_protocol() -> Options {
    Options { tokenizer: Tokenizer::None, ..Options::default() }
}
