//! `capsmith sweep`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use caption_metrics::meteor::Resources;
use clap::Subcommand;
use foreign_text::printable_path;
use networks::device::parse_device;
use studies::sweep::{self, Ended, Options, Sweep, Task};

use crate::{reproduce, terminal};

/// Try values of a config: a grid, random draws, or successive halving.
///
/// A sweep's file names a base config, what is varied, and the score that trials are compared by, on
/// held-out pictures; see configs/sweeps/. Every trial is checked before any is started, and is a run
/// of its own under trials/. Killed or stopped, the same command with --resume goes on; what is
/// finished is kept. A trial that fails is noted, and the others go on.
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
    /// Run a sweep, or one task's share of it; `capsmith sweep FILE` is the same.
    Run(RunArgs),
    /// Print the batch script that carries a sweep as a SLURM array.
    Slurm(SlurmArgs),
}

#[derive(clap::Args)]
struct RunArgs {
    /// The sweep's TOML file; see configs/sweeps/.
    file: PathBuf,
    /// Folder for the sweep; runs/sweeps/ and the name of its file unless given.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Runs at a time; one for each device unless given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    jobs: Option<u16>,
    /// Devices to spread runs over: cpu, cuda, or some like cuda:0,cuda:1; what the config says unless
    /// given.
    #[arg(long, value_delimiter = ',', value_name = "DEVICES")]
    device: Vec<String>,
    /// Resume the sweep in the folder. Failed trials are tried again, and those whose values have
    /// changed in the file are run again.
    #[arg(long)]
    resume: bool,
    /// Run everything again in the sweep's folder, in place of what is finished there.
    #[arg(long, conflicts_with_all = ["resume", "task"])]
    rerun: bool,
    /// Run share I, from 0, of N of the trials, where several processes carry a sweep in one --out on
    /// shared storage: I is `SLURM_ARRAY_TASK_ID` of an array from 0, or `JOB_COMPLETION_INDEX` of an
    /// indexed Kubernetes job. Goes on with what is there, as --resume does. Whoever ends last writes
    /// the results of all.
    #[arg(long, value_name = "I/N")]
    task: Option<Task>,
}

#[derive(clap::Args)]
struct SlurmArgs {
    /// The sweep's TOML file.
    file: PathBuf,
    /// Array tasks, each with its share of the trials.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    tasks: u16,
    /// Folder for the sweep, on storage that all nodes share; runs/sweeps/ and the name of its file
    /// unless given.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Device of each task; what the config says unless given.
    #[arg(long)]
    device: Option<String>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    match (args.command, args.run) {
        (Some(Command::Run(args)), _) | (None, Some(args)) => run_sweep(&args),
        (Some(Command::Slurm(args)), _) => slurm(&args),
        (None, None) => bail!("name a sweep's file; see configs/sweeps/"),
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
    // The runs under way save what they have.
    terminal::hold_stops(true);
    let ended = sweep::run(&sweep, &options, &mut terminal::Bar::default(), &stop)?;
    report(&ended, &options, &stop)
}

/// GPUs are told apart for each run by what it sees, and a run may go on with another one; but not with
/// a device of another kind.
fn check_devices(devices: &[String]) -> anyhow::Result<()> {
    for device in devices {
        parse_device(device)?;
    }
    let kind = |device: &String| device.starts_with("cuda");
    if devices.iter().any(|device| kind(device) != kind(&devices[0])) {
        bail!("--device names CPUs and GPUs; runs of one sweep are compared on one kind");
    }
    Ok(())
}

fn report(ended: &Ended, options: &Options, stop: &AtomicBool) -> anyhow::Result<()> {
    let results = &ended.results;
    let out = printable_path(&options.out);
    terminal::say(&format!("results in {out}: index.html, trials.csv, sweep.json, tensorboard/"));
    if stop.load(std::sync::atomic::Ordering::Relaxed) {
        terminal::say("interrupted; go on with the same command and --resume");
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
    if ended.left_to_others > 0 {
        terminal::say(&format!(
            "{} trials are of other tasks, or wait for theirs; start those, or all that is left with --resume and no --task",
            ended.left_to_others
        ));
    }
    let failed: Vec<String> = results.failed().map(|trial| trial.trial.to_string()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "{} of {} trials failed: {}; why is in {out}/sweep.json, and what they said in {out}/logs",
        failed.len(),
        results.trials.len(),
        failed.join(", ")
    );
}
