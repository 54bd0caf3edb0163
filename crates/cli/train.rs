//! `capsmith train`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use indicatif::ProgressBar;
use launchers::Place;
use recipes::Config;
use runs::RunFolder;
use runs::metrics::{EpochRecord, EpochScores, StepRecord};
use training::trainer::{self, Observer, Outcome, Session};

use crate::{models, terminal};

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
    let session = Session {
        resume: args.resume,
        stop_after_epochs: args.stop_after_epochs,
        tokenizers: args.tokenizers.clone(),
        place: Place::from_env()?,
    };
    train(&config, &out, &session)
}

fn default_run(config: &Path) -> PathBuf {
    Path::new("runs").join(config.file_stem().unwrap_or_default())
}

/// Trains and says how it ended.
pub fn train(config: &Config, out: &Path, session: &Session) -> anyhow::Result<()> {
    let stop = terminal::stop_flag()?;
    let is_first = session.place.rank == 0;
    let mut screen = Screen::default();
    let observer: &mut dyn Observer = if is_first { &mut screen } else { &mut Silent };
    let model = config.system.language_model().map(models::find_language_model).transpose()?;
    let run = RunFolder::new(out);
    let outcome = trainer::train(&run, config, model.as_deref(), session, observer, &stop)?;
    if let Some(bar) = screen.bar.take() {
        bar.finish_and_clear();
    }
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
            "{epochs} of {} epochs are done; go on with --resume, without --stop-after-epochs or with more",
            config.training.epochs
        ),
        Outcome::Interrupted { steps } => format!(
            "interrupted after step {steps}; a checkpoint is written, go on with the same command and --resume"
        ),
    });
    Ok(())
}

/// Of the processes that train a run together, rank 0 alone shows how it goes.
struct Silent;

impl Observer for Silent {
    fn note(&mut self, _: &str) {}
    fn epoch(&mut self, _: u64, _: u64, _: usize, _: usize) {}
    fn batch(&mut self) {}
    fn record(&mut self, _: &StepRecord) {}
    fn epoch_record(&mut self, _: &EpochRecord) {}
    fn captioned(&mut self, _: usize, _: usize) {}
    fn epoch_scores(&mut self, _: &EpochScores) {}

    fn unsaved(&mut self, is_unsaved: bool) {
        terminal::hold_stops(is_unsaved);
    }
}

/// A bar per epoch, or a line now and then where there is no terminal.
#[derive(Default)]
struct Screen {
    bar: Option<ProgressBar>,
    epochs: u64,
    lines: terminal::Lines,
}

impl Observer for Screen {
    fn note(&mut self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| terminal::say(message)),
            None => terminal::say(message),
        }
    }

    fn epoch(&mut self, epoch: u64, epochs: u64, done: usize, batches: usize) {
        self.epochs = epochs;
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
        let bar = terminal::bar(batches as u64, &format!("epoch {epoch}/{epochs}"));
        bar.set_position(done as u64);
        bar.reset_eta();
        self.bar = Some(bar);
    }

    fn batch(&mut self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    fn record(&mut self, record: &StepRecord) {
        let line = format!("loss {:.3} {:.0} tokens/s", record.loss, record.tokens_per_second);
        if let Some(bar) = &self.bar {
            bar.set_message(line.clone());
        }
        if self.lines.due() {
            terminal::say(&format!(
                "epoch {}/{} step {} {line}",
                record.epoch, self.epochs, record.step
            ));
        }
    }

    fn epoch_record(&mut self, record: &EpochRecord) {
        if let Some(loss) = record.validation_loss {
            self.note(&format!("epoch {}: loss {loss:.3} on held-out captions", record.epoch));
        }
    }

    fn captioned(&mut self, done: usize, pictures: usize) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("captioned {done}/{pictures}"));
        }
    }

    fn epoch_scores(&mut self, scores: &EpochScores) {
        let EpochScores { epoch, split, pictures, bleu_4, cider, .. } = scores;
        self.note(&format!(
            "epoch {epoch}: BLEU-4 {bleu_4:.3}, CIDEr {cider:.3} on {pictures} {split} pictures"
        ));
    }

    fn unsaved(&mut self, is_unsaved: bool) {
        terminal::hold_stops(is_unsaved);
    }
}
