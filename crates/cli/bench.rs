//! `capsmith bench`: full-size measurements, compared with the Python reference.

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::atomic::AtomicBool;
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
use pictures::{PictureFile, Preprocessing};
use precompute::{Dtype, Identity, ImageEncoder, Network, Plan};
use progress::Silent;
use rayon::prelude::*;
use serde::Deserialize;
use training::learner::LearnerOptions;

use crate::precompute::BATCH_SIZE;
use crate::{bounds, models, process, terminal};

/// Measurement of capsmith and of the Python reference.
#[derive(Subcommand)]
pub enum Command {
    /// Measure training steps, against the paper's loop.
    Train(Args),
    /// Measure a training step of several processes started by a launcher: seconds of computing,
    /// waiting and sending, as JSON.
    Distributed(Args),
    /// Measure decoding, against the notebook's loop and transformers' generate.
    Decode(Args),
    /// Measure SBG's sampling, against a pipeline with one prompt at a time.
    Sbg(SbgArgs),
    /// Measure decoding and preprocessing of pictures, against Pillow; with --clip also the whole
    /// way from files to embeddings, against transformers.
    Precompute(PicturesArgs),
}

/// Models have random weights; captions are the data set's, with a tokenizer trained on them.
/// Without --python only capsmith is measured.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the data set whose captions are used.
    #[arg(long)]
    dataset: PathBuf,
    #[command(flatten)]
    reference: Reference,
    /// Size of GPT-2
    #[arg(long, value_enum, default_value_t = Size::Small)]
    gpt2: Size,
    /// Captions per batch
    #[arg(long, default_value_t = 40, value_parser = bounds::whole(1..=bounds::MAX_BATCH))]
    batch_size: usize,
    /// Device: cpu, cuda or cuda:N; the reference always runs on the CPU
    #[arg(long, default_value = "cpu")]
    device: String,
    /// CPU threads of capsmith and the reference; 0 for all cores of this process
    #[arg(long, default_value_t = 0, value_parser = bounds::whole(0..=bounds::MAX_JOBS))]
    threads: usize,
    /// Type of matrix products in training, of weights and activations in decoding
    #[arg(long, default_value = "f32", value_name = "f32|bf16|f16")]
    dtype: Dtype,
    /// Recompute activations in the backward pass instead of keeping them.
    #[arg(long)]
    gradient_checkpointing: bool,
}

#[derive(clap::Args)]
pub struct SbgArgs {
    #[command(flatten)]
    common: Args,
    /// Pictures to caption
    #[arg(long, default_value_t = 240, value_parser = bounds::whole(1..=bounds::MAX_BATCH))]
    pictures: usize,
}

#[derive(clap::Args)]
pub struct PicturesArgs {
    /// Folder of JPEG files.
    #[arg(long)]
    images: PathBuf,
    /// CLIP, as for `capsmith precompute`; also measures embedding the pictures with it
    #[arg(long, value_name = "MODEL")]
    clip: Option<String>,
    /// Type of CLIP's weights and activations
    #[arg(long, default_value = "f32", value_name = "f32|bf16|f16")]
    dtype: Dtype,
    #[command(flatten)]
    reference: Reference,
}

#[derive(clap::Args)]
struct Reference {
    /// Python interpreter with the packages of tests/reference/requirements.txt; also measures the
    /// reference.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Script of the reference
    #[arg(long, default_value = "tests/reference/bench.py")]
    script: PathBuf,
    /// Measurements of capsmith and of the reference, after one warm-up
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
    fn learner_options(&self) -> anyhow::Result<LearnerOptions> {
        let precision = match self.dtype {
            Dtype::F32 => Precision::Full,
            Dtype::Bf16 => Precision::Bf16,
            Dtype::F16 => bail!("training computes in f32 or bf16\nhint: choose one with --dtype"),
        };
        Ok(LearnerOptions {
            max_grad_norm: 1.0,
            dropout: true,
            precision,
            gradient_checkpointing: self.gradient_checkpointing,
        })
    }
}

pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Train(args) => train(args),
        Command::Distributed(args) => distributed(args),
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
        args.reference.run("train", work.path(), args.threads, args.dtype)?;
    let options = args.learner_options()?;
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
    generate_40_dtype: Vec<f64>,
}

fn distributed(args: &Args) -> anyhow::Result<()> {
    let process = ProcessRank::from_env()?;
    let bench = load(args, process)?;
    let measured =
        bench.measure_distributed(process, args.reference.rounds, args.learner_options()?)?;
    if process.rank > 0 {
        return Ok(());
    }
    terminal::print(&(serde_json::to_string_pretty(&measured)? + "\n"))
}

fn decode(args: &Args) -> anyhow::Result<()> {
    let (mut bench, work) = set_up(args)?;
    let reference: Option<DecodeReference> =
        args.reference.run("decode", work.path(), args.threads, args.dtype)?;
    bench.prepare_decoding(precompute::kind_of(args.dtype));
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
            if args.dtype != Dtype::F32 {
                let theirs = middle(reference.generate_40_dtype.clone());
                let name = format!("  generate in {}, batches of 40", args.dtype);
                print_row(&name, theirs, "s a caption", Some(theirs / ours))?;
            }
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

/// Measures sampling without reranking, which both sides leave out.
fn sbg(args: &SbgArgs) -> anyhow::Result<()> {
    let common = &args.common;
    let (mut bench, work) = set_up(common)?;
    let reference: Option<SbgReference> =
        common.reference.run("sbg", work.path(), common.threads, common.dtype)?;
    terminal::print(&format!(
        "{SAMPLES_PER_IMAGE} samples of {CAPTION_TOKENS} tokens of each picture\n"
    ))?;
    bench.prepare_decoding(precompute::kind_of(common.dtype));
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
            "{} holds no .jpg file\nhint: name a folder of pictures with --images",
            printable_path(&args.images)
        );
    }
    let work = temporary_folder()?;
    let list: Vec<String> = paths.iter().map(|path| format!("{}\n", path.display())).collect();
    durable::write(&work.path().join("list.txt"), list.concat().as_bytes())?;
    let reference: Option<PicturesReference> =
        args.reference.run("pictures", work.path(), 1, Dtype::F32)?;

    let preprocessing = Preprocessing::clip(224);
    let picture = |path: &PathBuf| -> anyhow::Result<()> {
        std::hint::black_box(preprocessing.apply(&pictures::decode(path)?));
        Ok(())
    };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let mut single_thread = Vec::new();
    let mut all_cores = Vec::new();
    for _ in 0..=args.reference.rounds {
        let start = Instant::now();
        one.install(|| paths.iter().try_for_each(picture))?;
        single_thread.push(start.elapsed());
        let start = Instant::now();
        paths.par_iter().try_for_each(picture)?;
        all_cores.push(start.elapsed());
    }
    let each = |mut times: Vec<Duration>| median(times.split_off(1)) / paths.len() as f64;
    let ours = each(single_thread);
    print_row("capsmith, one thread, to normalised f32", ours, "s a picture", None)?;
    print_row("capsmith, all cores", each(all_cores), "s a picture", None)?;
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
    args.clip.as_deref().map_or(Ok(()), |clip| embed(args, clip, &paths, work.path()))
}

/// Measures `capsmith precompute` from picture files to a file of embeddings, model loaded before.
fn embed(args: &PicturesArgs, clip: &str, paths: &[PathBuf], work: &Path) -> anyhow::Result<()> {
    let source = models::encoder_source(Network::Clip, clip, args.dtype)?;
    let folder = networks::clip::folder_of(&source.path)?.canonicalize()?;
    durable::write(&work.join("clip.txt"), folder.display().to_string().as_bytes())?;
    let reference: Option<Vec<f64>> = args.reference.run("embed", work, 0, args.dtype)?;
    let device = process::device("cpu", ProcessRank::SINGLE)?;
    let encoder = ImageEncoder::load(&source, device)?;
    let identity = Identity {
        network: encoder.network(),
        model: clip.to_owned(),
        model_sha256: encoder.sha256(),
        preprocessing: Some(encoder.preprocessing().clone()),
        upright: false,
        normalize: false,
        dtype: args.dtype,
        dataset_fingerprint: String::new(),
        dimension: encoder.dimension(),
    };
    let mut times = Vec::new();
    for round in 0..=args.reference.rounds {
        let plan = Plan {
            names: paths.iter().map(|path| path.display().to_string()).collect(),
            find: Box::new(|picture, _| PictureFile::File(paths[picture].clone())),
            identity: identity.clone(),
            device,
            batch_size: BATCH_SIZE,
            skip_corrupt: false,
            process: ProcessRank::SINGLE,
            output: &work.join(format!("{round}.safetensors")),
        };
        let start = Instant::now();
        let never = AtomicBool::new(false);
        precompute::run(&plan, |pixels| encoder.encode(pixels), &mut Silent, &never)?;
        times.push(start.elapsed());
    }
    let ours = median(times.split_off(1)) / paths.len() as f64;
    print_row("capsmith, files to embeddings", ours, "s a picture", None)?;
    if let Some(reference) = reference {
        let theirs = middle(reference);
        print_row("transformers, the same", theirs, "s a picture", Some(theirs / ours))?;
    }
    Ok(())
}

/// Loads the models and data of a measurement, and writes them for the reference if `--python` is
/// given.
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
    device::set_threads(training::cpu_threads(args.threads));
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
    tempfile::tempdir().context("cannot create a temporary folder")
}

impl Reference {
    /// Runs the reference on the files in `folder`; `None` without `--python`.
    fn run<T: serde::de::DeserializeOwned>(
        &self,
        work: &str,
        folder: &Path,
        threads: usize,
        dtype: Dtype,
    ) -> anyhow::Result<Option<T>> {
        let Some(python) = &self.python else { return Ok(None) };
        terminal::say(&format!("running {} {work}", printable_path(&self.script)));
        let output = Process::new(python)
            .arg(&self.script)
            .arg(work)
            .arg(folder)
            .args(["--threads", &training::cpu_threads(threads).to_string()])
            .args(["--rounds", &self.rounds.to_string()])
            .args(["--dtype", &dtype.to_string()])
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", printable_path(python)))?;
        if !output.status.success() {
            bail!(
                "{} {work} failed\nhint: its packages are listed in tests/reference/requirements.txt",
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

fn print_row(name: &str, value: f64, unit: &str, ratio: Option<f64>) -> anyhow::Result<()> {
    let ratio = ratio.map_or_else(String::new, |ratio| format!("  {ratio:.2} x capsmith's"));
    terminal::print(&format!("{name:<42} {value:>10.5} {unit}{ratio}\n"))
}
