//! `capsmith bench`: the hot paths at full size, as ratios against the Python reference.

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bench::{Bench, CAPTION_TOKENS, SAMPLES_PER_IMAGE};
use clap::{Subcommand, ValueEnum};
use datasets::Corpus;
use foreign_text::printable_path;
use launchers::ProcessRank;
use networks::decode::Strategy;
use networks::gpt2::Gpt2Config;
use networks::{Precision, device};
use pictures::Preprocessing;
use rayon::prelude::*;
use serde::Deserialize;
use training::learner::LearnerOptions;

use crate::{bounds, terminal};

/// Measures training, decoding and picture decoding, and the Python reference beside them.
#[derive(Subcommand)]
pub enum Command {
    /// Training steps per second, against the paper's loop.
    Train(Args),
    /// A training step of several processes, started by a launcher: what of it is computing, waiting and
    /// sending, as JSON.
    Together(Args),
    /// Captions per second, against the notebook's loop and against transformers' generate.
    Decode(Args),
    /// SBG's sampling, pictures per second, against a pipeline that takes one prompt at a time.
    Sbg(SbgArgs),
    /// Pictures decoded and preprocessed per second and core, against Pillow.
    Precompute(PicturesArgs),
}

/// Models have random weights and captions are real, tokenised by a tokenizer trained on them.
/// Without --python only capsmith is measured.
#[derive(clap::Args)]
pub struct Args {
    /// Folder with captions.
    #[arg(long)]
    dataset: PathBuf,
    #[command(flatten)]
    reference: Reference,
    /// GPT-2's size.
    #[arg(long, value_enum, default_value_t = Size::Small)]
    gpt2: Size,
    /// Captions in a batch.
    #[arg(long, default_value_t = 40, value_parser = bounds::whole(1..=bounds::MOST_TOGETHER))]
    batch_size: usize,
    /// Device: cpu, cuda or cuda:N. The reference always runs on the processor.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// CPU threads, for both sides; 0 for all cores that are this process's.
    #[arg(long, default_value_t = 0, value_parser = bounds::whole(0..=bounds::MOST_JOBS))]
    threads: usize,
    /// Matrix products in bf16.
    #[arg(long)]
    bf16: bool,
    /// Compute activations twice instead of keeping them.
    #[arg(long)]
    gradient_checkpointing: bool,
}

#[derive(clap::Args)]
pub struct SbgArgs {
    #[command(flatten)]
    common: Args,
    /// Pictures to caption.
    #[arg(long, default_value_t = 240, value_parser = bounds::whole(1..=bounds::MOST_TOGETHER))]
    pictures: usize,
}

#[derive(clap::Args)]
pub struct PicturesArgs {
    /// Folder of JPEGs.
    #[arg(long)]
    images: PathBuf,
    #[command(flatten)]
    reference: Reference,
}

#[derive(clap::Args)]
struct Reference {
    /// Python with what tests/reference/requirements.txt names; runs the reference in turn with
    /// capsmith.
    #[arg(long)]
    python: Option<PathBuf>,
    /// The reference.
    #[arg(long, default_value = "tests/reference/bench.py")]
    script: PathBuf,
    /// Measurements of each side; a first one is not counted.
    #[arg(long, default_value_t = 3, value_parser = bounds::whole(1..=1_000))]
    rounds: usize,
}

/// Sizes of the published GPT-2s.
#[derive(Clone, Copy, ValueEnum)]
enum Size {
    Small,
    Medium,
    Large,
    Xl,
}

impl Size {
    fn config(self) -> Gpt2Config {
        let (n_embd, n_layer, n_head) = match self {
            Self::Small => (768, 12, 12),
            Self::Medium => (1024, 24, 16),
            Self::Large => (1280, 36, 20),
            Self::Xl => (1600, 48, 25),
        };
        Gpt2Config { n_embd, n_layer, n_head, ..Gpt2Config::default() }
    }
}

impl Args {
    fn learner_options(&self) -> LearnerOptions {
        LearnerOptions {
            max_grad_norm: 1.0,
            dropout: true,
            precision: if self.bf16 { Precision::Bf16 } else { Precision::Full },
            gradient_checkpointing: self.gradient_checkpointing,
        }
    }
}

pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Train(args) => train(args),
        Command::Together(args) => together(args),
        Command::Decode(args) => decode(args),
        Command::Sbg(args) => sbg(args),
        Command::Precompute(args) => precompute(args),
    }
}

#[derive(Deserialize)]
struct TrainReference {
    loss: f64,
    seconds: Vec<f64>,
}

fn train(args: &Args) -> anyhow::Result<()> {
    let (bench, work) = set_up(args)?;
    let (captions, tokens, slots) = bench.shape();
    terminal::print(&format!(
        "batches of {captions} captions: {tokens:.0} tokens, {slots} slots when padded to the data set's longest\n"
    ))?;
    let loss = bench.first_loss();
    let reference: Option<TrainReference> =
        args.reference.run("train", work.path(), args.threads)?;
    let options = args.learner_options();
    let ours = median(bench.train(args.reference.rounds, options)?);
    print_row("capsmith", ours, "s a step", None)?;
    if let Some(reference) = reference {
        let theirs = middle(reference.seconds);
        print_row("paper's loop in Python", theirs, "s a step", Some(theirs / ours))?;
        let off = (loss - reference.loss).abs() / reference.loss;
        terminal::print(&format!(
            "loss of the first batch without dropout: {loss:.6}, {off:.1e} off\n"
        ))?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct DecodeReference {
    captions: Vec<Vec<i64>>,
    notebook: Vec<f64>,
    generate_40: Vec<f64>,
}

fn together(args: &Args) -> anyhow::Result<()> {
    let process = ProcessRank::from_env()?;
    let bench = load(args, process)?;
    let measured =
        bench.measure_distributed(process, args.reference.rounds, args.learner_options())?;
    if process.rank > 0 {
        return Ok(());
    }
    terminal::print(&(serde_json::to_string_pretty(&measured)? + "\n"))
}

fn decode(args: &Args) -> anyhow::Result<()> {
    let (bench, work) = set_up(args)?;
    let reference: Option<DecodeReference> =
        args.reference.run("decode", work.path(), args.threads)?;
    terminal::print(&format!("captions of {CAPTION_TOKENS} tokens\n"))?;
    for batch_size in [1, 40, 128] {
        let (times, written) =
            bench.decode(Strategy::Greedy {}, args.reference.rounds, batch_size)?;
        let ours = median(times) / batch_size as f64;
        print_row(&format!("capsmith, batches of {batch_size}"), ours, "s a caption", None)?;
        let Some(reference) = &reference else { continue };
        let notebook = middle(reference.notebook.clone());
        print_row("  notebook's loop", notebook, "s a caption", Some(notebook / ours))?;
        if batch_size == 40 {
            let theirs = middle(reference.generate_40.clone());
            print_row("  generate, batches of 40", theirs, "s a caption", Some(theirs / ours))?;
        }
        let compared = reference.captions.iter().zip(&written);
        let (count, same) = (compared.len(), compared.filter(|(a, b)| a == b).count());
        terminal::print(&format!("  equal captions: {same} of {count}\n"))?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct SbgReference {
    one_after_the_other: Vec<f64>,
    in_one_call: Vec<f64>,
}

/// Choosing among the samples is left out on both sides.
fn sbg(args: &SbgArgs) -> anyhow::Result<()> {
    let (bench, work) = set_up(&args.common)?;
    let reference: Option<SbgReference> =
        args.common.reference.run("sbg", work.path(), args.common.threads)?;
    terminal::print(&format!(
        "{SAMPLES_PER_IMAGE} samples of {CAPTION_TOKENS} tokens of each picture\n"
    ))?;
    let ours = bench.sample(args.pictures)?.as_secs_f64() / args.pictures as f64;
    print_row(&format!("capsmith, {} pictures", args.pictures), ours, "s a picture", None)?;
    let Some(reference) = reference else { return Ok(()) };
    let theirs = middle(reference.one_after_the_other);
    print_row("pipeline, one sample after the other", theirs, "s a picture", Some(theirs / ours))?;
    let theirs = middle(reference.in_one_call);
    print_row("pipeline, all samples in one call", theirs, "s a picture", Some(theirs / ours))?;
    Ok(())
}

#[derive(Deserialize)]
struct PicturesReference {
    cropped: Vec<f64>,
    normalised: Vec<f64>,
}

fn precompute(args: &PicturesArgs) -> anyhow::Result<()> {
    let listing = std::fs::read_dir(&args.images)
        .with_context(|| format!("cannot list {}", printable_path(&args.images)))?;
    let mut paths: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jpg"));
    paths.sort();
    if paths.is_empty() {
        bail!(
            "{} holds no .jpg; name a folder of pictures with --images",
            printable_path(&args.images)
        );
    }
    let work = temporary_folder()?;
    let list: Vec<String> = paths.iter().map(|path| format!("{}\n", path.display())).collect();
    durable::write(&work.path().join("list.txt"), list.concat().as_bytes())?;
    let reference: Option<PicturesReference> = args.reference.run("pictures", work.path(), 1)?;

    let preprocessing = Preprocessing::clip(224);
    let picture = |path: &PathBuf| -> anyhow::Result<()> {
        std::hint::black_box(preprocessing.apply(&pictures::decode(path)?));
        Ok(())
    };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let mut alone = Vec::new();
    let mut together = Vec::new();
    for _ in 0..=args.reference.rounds {
        let start = Instant::now();
        one.install(|| paths.iter().try_for_each(picture))?;
        alone.push(start.elapsed());
        let start = Instant::now();
        paths.par_iter().try_for_each(picture)?;
        together.push(start.elapsed());
    }
    let each = |mut times: Vec<Duration>| median(times.split_off(1)) / paths.len() as f64;
    let ours = each(alone);
    print_row("capsmith, one thread, to normalised f32", ours, "s a picture", None)?;
    print_row("capsmith, all cores", each(together), "s a picture", None)?;
    if let Some(reference) = reference {
        let (cropped, normalised) = (middle(reference.cropped), middle(reference.normalised));
        print_row("Pillow, cropped", cropped, "s a picture", Some(cropped / ours))?;
        print_row(
            "Pillow and numpy, to normalised f32",
            normalised,
            "s a picture",
            Some(normalised / ours),
        )?;
    }
    Ok(())
}

/// The models and data of a measurement, laid out for the reference where it is asked for.
fn set_up(args: &Args) -> anyhow::Result<(Bench, tempfile::TempDir)> {
    let bench = load(args, ProcessRank::SINGLE)?;
    let work = temporary_folder()?;
    if args.reference.python.is_some() {
        bench.write_reference_inputs(work.path())?;
    }
    Ok((bench, work))
}

fn load(args: &Args, process: ProcessRank) -> anyhow::Result<Bench> {
    let device = device::parse_device(&process.device_name(&args.device))?;
    device::set_threads(cores(args.threads));
    let corpus = Corpus::load(&args.dataset, None)?;
    let captions: Vec<String> = corpus
        .images
        .iter()
        .flat_map(|image| &image.captions)
        .map(|caption| caption.to_lowercase())
        .collect();
    Ok(Bench::new(&args.gpt2.config(), &captions, args.batch_size, device)?)
}

fn temporary_folder() -> anyhow::Result<tempfile::TempDir> {
    tempfile::tempdir().context("cannot make a temporary folder")
}

fn cores(threads: usize) -> usize {
    match threads {
        0 => device::cpu_threads(launchers::local_world_size()),
        threads => threads,
    }
}

impl Reference {
    /// Runs the reference on what lies in `folder`, if there is a Python to run it.
    fn run<T: serde::de::DeserializeOwned>(
        &self,
        work: &str,
        folder: &Path,
        threads: usize,
    ) -> anyhow::Result<Option<T>> {
        let Some(python) = &self.python else { return Ok(None) };
        terminal::say(&format!("running {} {work}", printable_path(&self.script)));
        let output = Process::new(python)
            .arg(&self.script)
            .arg(work)
            .arg(folder)
            .args(["--threads", &cores(threads).to_string()])
            .args(["--rounds", &self.rounds.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", printable_path(python)))?;
        if !output.status.success() {
            bail!(
                "{} {work} failed; the packages it needs are in tests/reference/requirements.txt",
                printable_path(&self.script)
            );
        }
        let result = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{} printed no result", printable_path(&self.script)))?;
        Ok(Some(result))
    }
}

fn median(times: Vec<Duration>) -> f64 {
    middle(times.into_iter().map(|time| time.as_secs_f64()).collect())
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print_row(what: &str, value: f64, unit: &str, ratio: Option<f64>) -> anyhow::Result<()> {
    let ratio = ratio.map_or_else(String::new, |ratio| format!("  {ratio:.2} x capsmith's"));
    terminal::print(&format!("{what:<42} {value:>10.5} {unit}{ratio}\n"))
}
