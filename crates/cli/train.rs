//! `capsmith train`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::bail;
use foreign_text::{printable, printable_path};
use launchers::ProcessRank;
use progress::Progress;
use recipes::{Config, EarlyStopOn, System};
use runs::RunFolder;
use training::session::{Outcome, TrainOptions};
use training::trainer;

use crate::{import, models, terminal};

/// Train a run from a config.
///
/// Writes the resolved config, metrics.csv, TensorBoard events and checkpoints to the run folder.
/// Ctrl-C saves a checkpoint and stops; --resume resumes from the newest checkpoint. On the CPU a
/// resumed run ends with the same bits as an uninterrupted one; on a GPU it does with
/// training.deterministic=true, and otherwise differs in the last digits.
///
/// Processes started by torchrun, mpirun, srun or an indexed Kubernetes job train one run together:
/// they share each batch. This needs a build with the feature gloo, or nccl for GPUs.
#[derive(clap::Args)]
pub struct Args {
    /// TOML file with the values that differ from the system's defaults, or from its `base` file;
    /// see configs/.
    #[arg(value_name = "CONFIG", required_unless_present = "config_option")]
    config: Option<PathBuf>,
    #[arg(long = "config", hide = true, conflicts_with = "config")]
    config_option: Option<PathBuf>,
    /// Override a value of the config, such as `--set training.epochs=3`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Device: cpu, cuda or cuda:N. [default: training.device of the config]
    #[arg(long)]
    device: Option<String>,
    /// Print the resolved config with all values, and exit.
    #[arg(long)]
    print_config: bool,
    /// Run folder. [default: runs/ and the name of the config file]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Resume the run in the folder, or start it if there is none. The config must be that of the
    /// run, except for device, threads, logging, checkpoint retention, and paths of data and
    /// models.
    #[arg(long)]
    resume: bool,
    /// Stop after N epochs of the run. The learning rate schedule stays that of all epochs, and
    /// --resume continues as if the run had not stopped.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    stop_after_epochs: Option<u64>,
    /// Folder in which runs share custom tokenizers: a tokenizer that another run has trained on
    /// the same captions is reused.
    #[arg(long, value_name = "FOLDER")]
    tokenizers: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let Some(file) = args.config.as_deref().or(args.config_option.as_deref()) else {
        bail!("name a config file; see configs/");
    };
    let device = args.device.iter().map(|device| format!("training.device={device:?}"));
    let overrides: Vec<String> = args.overrides.iter().cloned().chain(device).collect();
    let config = Config::load(file, &overrides)?;
    if args.print_config {
        std::io::stdout().write_all(config.to_toml().as_bytes())?;
        return Ok(());
    }
    let out = args.out.clone().unwrap_or_else(|| default_run(file));
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

/// Trains a run and prints its outcome.
pub fn train(config: &Config, out: &Path, options: &TrainOptions) -> anyhow::Result<()> {
    let stop = terminal::stop_flag()?;
    // Only rank 0 shows progress.
    let is_first = options.process.rank == 0;
    let mut bar = terminal::Bar::default();
    let progress: &mut dyn Progress = if is_first { &mut bar } else { &mut terminal::Quiet };
    let model = config.system.language_model().map(import::find_language_model).transpose()?;
    if let System::Sbg(system) = &config.system
        && is_first
        && models::is_missing(&system.reranking.clip)
    {
        progress.note(&format!(
            "{} (reranking.clip) does not exist; it is needed to choose captions, or --clip in its place",
            printable(&system.reranking.clip)
        ));
    }
    let run = RunFolder::new(out);
    let outcome = trainer::train(&run, config, model.as_deref(), options, progress, &stop)?;
    bar.finish();
    if !is_first {
        return Ok(());
    }
    let run = printable_path(out);
    terminal::say(&match outcome {
        Outcome::Finished { steps } => {
            format!("trained {steps} steps\nnext: capsmith evaluate {run}")
        }
        Outcome::StoppedEarly { epochs } => format!(
            "stopped early after {epochs} epochs: {} no longer improved\nnext: capsmith evaluate {run}",
            match config.training.early_stop_on {
                EarlyStopOn::LastBatch => "the loss of an epoch's last batch",
                EarlyStopOn::HeldOut => "the loss on held-out captions",
            }
        ),
        Outcome::Paused { epochs } => format!(
            "stopped after {epochs} of {} epochs; resume with --resume, and a higher --stop-after-epochs or none",
            config.training.epochs
        ),
        Outcome::Interrupted { steps } => format!(
            "interrupted after step {steps}, checkpoint saved; resume with the same command and --resume"
        ),
    });
    Ok(())
}
