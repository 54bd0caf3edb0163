//! `capsmith demo`: every step on pictures that capsmith draws, in one folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use training::config::Config;
use training::evaluate::{Scored, What};
use training::run_folder::RunFolder;
use training::trainer::Session;

use crate::evaluate::How;
use crate::{evaluate, init, page, precompute, terminal, train};

/// The demo's configuration; its paths are replaced by ones inside the demo's folder.
const CONFIG: &str = include_str!("../../configs/demo/prefix-gradient-clipping.toml");

/// The whole way, from pictures that capsmith draws to captions and scores, in minutes.
///
/// Draws a data set, checks it, makes a CLIP and a GPT-2 with random weights, computes embeddings,
/// trains the CLIP-prefix captioner, captions the test pictures, scores the captions, and repeats
/// that with shuffled embeddings as a control. Nothing is downloaded and nothing is pretrained. Run
/// again, it goes on where it was stopped.
#[derive(clap::Args)]
pub struct Args {
    /// Folder for everything the demo makes.
    #[arg(long, default_value = "demo")]
    out: PathBuf,
    /// Pictures to draw.
    #[arg(long, default_value_t = 1500)]
    count: usize,
}

/// Lets the demo call the other commands exactly as a person types them.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Line<T: clap::Args> {
    #[command(flatten)]
    args: T,
}

fn parse<T: clap::Args>(line: &[&str]) -> anyhow::Result<T> {
    Ok(Line::<T>::try_parse_from(line)?.args)
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let started = Instant::now();
    let place = |name: &str| args.out.join(name).display().to_string();
    let (pictures, clip, gpt2) = (place("pictures"), place("clip"), place("gpt2"));
    let (embeddings, run) = (place("embeddings.safetensors"), place("run"));
    let count = args.count.to_string();
    durable::create_dir_all(&args.out)?;

    announce(&["dataset", "draw", "--out", &pictures, "--count", &count]);
    let draw = parse(&["--out", &pictures, "--count", &count])?;
    crate::dataset::run(crate::dataset::Command::Draw(draw))?;

    announce(&["dataset", "check", &pictures, "--test-captions", "500"]);
    let check = parse(&[&pictures, "--test-captions", "500"])?;
    crate::dataset::run(crate::dataset::Command::Check(check))?;

    if !Path::new(&clip).join("model.safetensors").exists() {
        announce(&["init", "clip", "--out", &clip]);
        init::clip(&parse(&["--out", &clip])?)?;
    }
    if !Path::new(&gpt2).join("model.safetensors").exists() {
        let line = ["--out", &gpt2, "--dataset", &pictures, "--test-captions", "500"];
        announce(&[&["init", "gpt2"], &line[..]].concat());
        init::gpt2(&parse(&line)?)?;
    }
    let line = ["--dataset", &pictures, "--clip", &clip, "--out", &embeddings];
    announce(&[&["precompute"], &line[..]].concat());
    precompute::run(&parse(&line)?)?;

    let overrides = [
        format!("data.dataset={pictures}"),
        format!("data.embeddings={embeddings}"),
        format!("gpt2.model={gpt2}"),
    ];
    let config =
        Config::parse(CONFIG, Path::new("configs/demo/prefix-gradient-clipping.toml"), &overrides)?;
    let sets: Vec<&str> = overrides.iter().flat_map(|set| ["--set", set]).collect();
    let head = ["train", "--config", "configs/demo/prefix-gradient-clipping.toml", "--out", &run];
    announce(&[&head[..], &sets].concat());
    let resume = RunFolder::new(Path::new(&run)).exists();
    let session = Session { resume, ..Session::default() };
    train::train(&config, Path::new(&run), &session)?;
    if terminal::interrupted().is_some() {
        return Ok(());
    }

    announce(&["evaluate", "--run", &run]);
    let scored = scored(&run, &How::default())?;
    announce(&["evaluate", "--run", &run, "--shuffle-embeddings", "1"]);
    let what = What { shuffle_seed: Some(1), ..What::default() };
    let shuffled = How { what, ..How::default() };
    let control = self::scored(&run, &shuffled)?;

    let index = args.out.join("index.html");
    page::write(&index, &scored, &control, &place("pictures/Images"))
        .with_context(|| format!("cannot write {}", index.display()))?;
    print_summary(&scored, &control, &index, started)
}

/// The run has one way of choosing captions.
fn scored(run: &str, how: &How) -> anyhow::Result<Scored> {
    let all = evaluate::evaluate(Path::new(run), "cpu", how, &evaluate::paper_protocol())?;
    all.into_iter().next().context("nothing was scored")
}

fn print_summary(
    scored: &Scored,
    control: &Scored,
    index: &Path,
    started: Instant,
) -> anyhow::Result<()> {
    let mut text = format!("\n{} test pictures; a few captions:\n", scored.evaluation.n);
    for one in scored.captions.iter().take(5) {
        let _ = writeln!(text, "  {}  {}", one.file_name, one.prediction);
    }
    text.push_str("\nscore     captioned  shuffled embeddings (control: must be lower)\n");
    for (name, score) in scored.evaluation.corpus.iter() {
        let other = control.evaluation.corpus.get(name).unwrap_or(f64::NAN);
        let _ = writeln!(text, "{name:<9} {score:<10.4} {other:.4}");
    }
    let seconds = started.elapsed().as_secs_f64();
    let _ = writeln!(
        text,
        "\nPictures, captions and scores: {} ({seconds:.0} s in all)",
        index.display()
    );
    terminal::print(&text)
}

/// Shows the command that does the next step.
fn announce(words: &[&str]) {
    terminal::say(&format!("\n$ capsmith {}", words.join(" ")));
}
