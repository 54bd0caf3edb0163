//! `capsmith train`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use launchers::ProcessRank;
use progress::Progress;
use recipes::Config;
use runs::RunFolder;
use training::session::{Outcome, TrainOptions};
use training::trainer;

use crate::{import, terminal};

/// Train a run from a config.
///
/// The run folder gets the resolved config, metrics.csv, TensorBoard events and checkpoints. Ctrl-C
/// saves a checkpoint and stops; `--resume` continues from the newest checkpoint. On the processor the run
/// then ends with the same bits as one that was never stopped; on a GPU it does so with
/// training.deterministic=true, and otherwise differs in the last digits.
///
/// Started by torchrun, mpirun, srun or an indexed job of Kubernetes, the processes compute each batch
/// together, and the run is that of one process. capsmith has to be built with the feature gloo for that, or
/// nccl for GPUs.
#[derive(clap::Args)]
pub struct Args {
    /// TOML file with the values that differ from the defaults of its system, or from the file that
    /// its `base` names; see configs/.
    #[arg(long)]
    config: PathBuf,
    /// Change a value of the config, such as --set training.epochs=3; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Print the config with every value named, and stop.
    #[arg(long)]
    print_config: bool,
    /// Run folder; runs/ and the name of the config file unless given.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Continue the run in the folder, or start it where there is none yet. The device, threads, logging,
    /// which checkpoints are kept and the paths of data and models may be other ones; the rest of the
    /// config must be the run's.
    #[arg(long)]
    resume: bool,
    /// Stop once so many epochs of the run are done, on the schedule of all of them; --resume continues
    /// as if it had never stopped.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    stop_after_epochs: Option<u64>,
    /// Keep custom tokenizers in this folder, and take from it those that another run has trained on
    /// the same captions.
    #[arg(long, value_name = "FOLDER")]
    tokenizers: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let config = Config::load(&args.config, &args.overrides)?;
    if args.print_config {
        std::io::stdout().write_all(config.to_toml().as_bytes())?;
        return Ok(());
    }
    let out = args.out.clone().unwrap_or_else(|| default_run(&args.config));
    let options = TrainOptions {
        resume: args.resume,
        stop_after_epochs: args.stop_after_epochs,
        tokenizers: args.tokenizers.clone(),
        process: ProcessRank::from_env()?,
    };
    train(&config, &out, &options)
}

fn default_run(config: &Path) -> PathBuf {
    Path::new("runs").join(config.file_stem().unwrap_or_default())
}

/// Trains, and prints how it ended.
pub fn train(config: &Config, out: &Path, options: &TrainOptions) -> anyhow::Result<()> {
    let stop = terminal::stop_flag()?;
    // Of the processes that train a run together, rank 0 alone shows progress.
    let is_first = options.process.rank == 0;
    let mut bar = terminal::Bar::default();
    let progress: &mut dyn Progress = if is_first { &mut bar } else { &mut terminal::Quiet };
    let model = config.system.language_model().map(import::find_language_model).transpose()?;
    let run = RunFolder::new(out);
    let outcome = trainer::train(&run, config, model.as_deref(), options, progress, &stop)?;
    bar.finish();
    if !is_first {
        return Ok(());
    }
    let run = printable_path(out);
    terminal::say(&match outcome {
        Outcome::Finished { steps } => {
            format!("trained {steps} steps; next: capsmith evaluate --run {run}")
        }
        Outcome::StoppedEarly { epochs } => format!(
            "stopped early after {epochs} epochs: the loss no longer improved; next: capsmith evaluate --run {run}"
        ),
        Outcome::Paused { epochs } => format!(
            "{epochs} of {} epochs are done; resume with --resume, without --stop-after-epochs or with more",
            config.training.epochs
        ),
        Outcome::Interrupted { steps } => format!(
            "interrupted after step {steps}; a checkpoint is written, resume with the same command and --resume"
        ),
    });
    Ok(())
}
