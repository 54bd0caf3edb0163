//! `capsmith sweep`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use caption_metrics::meteor::Resources;
use clap::Subcommand;
use foreign_text::printable_path;
use networks::device::parse_device;
use studies::sweep::{self, Options, Sweep, SweepOutcome, Task};

use crate::{reproduce, terminal};

/// Search for config values: by grid, random search or successive halving.
///
/// A sweep file names a base config, the keys to vary, and the score on held-out pictures that
/// ranks the trials; see configs/sweeps/. All trials are checked before the first one starts. Each
/// trial is a run of its own under trials/. An interrupted sweep resumes with the same command and
/// --resume; finished runs are reused. A failed trial is recorded and does not stop the others.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Option<RunArgs>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a sweep, or one task's share of it. Same as `capsmith sweep FILE`.
    Run(RunArgs),
    /// Print a batch script that runs a sweep as a SLURM array.
    Slurm(SlurmArgs),
}

#[derive(clap::Args)]
struct RunArgs {
    /// TOML file of the sweep; see configs/sweeps/.
    file: PathBuf,
    /// Folder for the sweep. [default: runs/sweeps/ and the name of FILE]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Number of runs in parallel. [default: one per device]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    jobs: Option<u16>,
    /// Devices to spread runs over: cpu, cuda, or several such as cuda:0,cuda:1. [default: from the
    /// config]
    #[arg(long, value_delimiter = ',', value_name = "DEVICES")]
    device: Vec<String>,
    /// Resume the sweep in the folder. Failed trials, and trials whose values have changed in the
    /// file, run again.
    #[arg(long)]
    resume: bool,
    /// Run all trials of the sweep in the folder again, and replace their results.
    #[arg(long, conflicts_with_all = ["resume", "task"])]
    rerun: bool,
    /// Run share I (from 0) of N of the trials, as one of several processes that share --out on
    /// common storage. I is `SLURM_ARRAY_TASK_ID` of an array from 0, or `JOB_COMPLETION_INDEX` of
    /// an indexed Kubernetes job. Resumes as with --resume. The last task to finish writes the
    /// results of all.
    #[arg(long, value_name = "I/N")]
    task: Option<Task>,
}

#[derive(clap::Args)]
struct SlurmArgs {
    /// TOML file of the sweep.
    file: PathBuf,
    /// Number of array tasks; each runs its share of the trials.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    tasks: u16,
    /// Folder for the sweep, on storage that all nodes share. [default: runs/sweeps/ and the name
    /// of FILE]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Device of each task. [default: from the config]
    #[arg(long)]
    device: Option<String>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    match (args.command, args.run) {
        (Some(Command::Run(args)), _) | (None, Some(args)) => run_sweep(&args),
        (Some(Command::Slurm(args)), _) => slurm(&args),
        (None, None) => bail!("name a sweep file; see configs/sweeps/"),
    }
}

fn folder(out: Option<&PathBuf>, sweep: &Sweep) -> PathBuf {
    out.cloned().unwrap_or_else(|| Path::new("runs/sweeps").join(&sweep.name))
}

fn slurm(args: &SlurmArgs) -> anyhow::Result<()> {
    let sweep = Sweep::load(&args.file)?;
    let out = folder(args.out.as_ref(), &sweep);
    let device = args.device.iter().flat_map(|device| ["--device".to_owned(), device.clone()]);
    let more: Vec<String> = device.collect();
    let tasks = usize::from(args.tasks);
    let configured = sweep.trials.first().map(|trial| &trial.config.training.device);
    let device = args.device.as_ref().or(configured).map_or("cpu", String::as_str);
    terminal::print(&sweep::batch_script(&sweep.name, &args.file, &out, tasks, device, &more))
}

fn run_sweep(args: &RunArgs) -> anyhow::Result<()> {
    let sweep = Sweep::load(&args.file)?;
    check_devices(&args.device)?;
    if sweep.metric == "METEOR" {
        Resources::open_default().context("`metric` is METEOR")?;
    }
    let stop = terminal::stop_flag()?;
    let options = Options {
        out: folder(args.out.as_ref(), &sweep),
        resume: args.resume,
        rerun: args.rerun,
        jobs: args.jobs.map_or(args.device.len().max(1), usize::from),
        devices: args.device.clone(),
        task: args.task,
        program: reproduce::program()?,
    };
    // Running stages save a checkpoint before they stop.
    terminal::hold_stops(true);
    let outcome = sweep::run(&sweep, &options, &mut terminal::Bar::default(), &stop)?;
    report(&outcome, &options, &stop)
}

/// Fails if a device name is invalid, or the devices mix CPUs and GPUs.
///
/// The configs of all trials name one kind of device; the index of a GPU is not part of them.
fn check_devices(devices: &[String]) -> anyhow::Result<()> {
    for device in devices {
        parse_device(device)?;
    }
    let kind = |device: &String| device.starts_with("cuda");
    if devices.iter().any(|device| kind(device) != kind(&devices[0])) {
        bail!(
            "--device mixes CPUs and GPUs, but the runs of a sweep must share one kind of device"
        );
    }
    Ok(())
}

fn report(outcome: &SweepOutcome, options: &Options, stop: &AtomicBool) -> anyhow::Result<()> {
    let results = &outcome.results;
    let out = printable_path(&options.out);
    terminal::say(&format!(
        "wrote the results in {out}: index.html, trials.csv, sweep.json, tensorboard/"
    ));
    if stop.load(std::sync::atomic::Ordering::Relaxed) {
        terminal::say("interrupted; resume with the same command and --resume");
        return Ok(());
    }
    let mut text = String::new();
    for trial in results.trials.iter().filter(|trial| trial.mean.is_some()).take(5) {
        let mean = trial.mean.unwrap_or_default();
        let std = trial.std.map(|std| format!(" ± {std:.4}")).unwrap_or_default();
        let settings: Vec<String> =
            trial.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let _ = writeln!(
            text,
            "{} {mean:.4}{std}  trial {}  {}",
            results.metric,
            trial.trial,
            settings.join(" ")
        );
    }
    terminal::print(&text)?;
    if outcome.left_to_others > 0 {
        terminal::say(&format!(
            "{} trials belong to other tasks or depend on them; start those tasks, or run all remaining trials with --resume and without --task",
            outcome.left_to_others
        ));
    }
    let failed: Vec<String> = results.failed().map(|trial| trial.trial.to_string()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "{} of {} trials failed: {}; the errors are in {out}/sweep.json, the logs in {out}/logs",
        failed.len(),
        results.trials.len(),
        failed.join(", ")
    );
}
