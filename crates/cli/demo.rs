//! `capsmith demo`: reproduces Table 1 on drawn pictures, in one folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Parser as _;
use foreign_text::printable_path;
use include_dir::{Dir, include_dir};
use studies::reproduce::Presentation;

use crate::reproduce::{self, Finished, PaperTable};
use crate::{bounds, dataset, serve, terminal};

/// Small models from `cargo xtask pretrain`, embedded so that the program is self-contained.
static MODELS: Dir = include_dir!("$CARGO_MANIFEST_DIR/data/models");

/// Reproduce Table 1 on drawn pictures, in minutes, without a network or GPU.
///
/// Draws a data set, writes a small CLIP and a small GPT-2 that `capsmith pretrain` trained on
/// other drawn pictures, and runs `capsmith reproduce table1 --configs demo` on them: every row
/// from data to scores. Open OUT/index.html for pictures, captions, keywords and scores. An
/// interrupted demo resumes with the same command.
#[derive(clap::Args)]
pub struct Args {
    /// Folder for all files of the demo
    #[arg(long, default_value = "demo")]
    out: PathBuf,
    /// Number of pictures to draw
    #[arg(long, default_value_t = 1500)]
    count: usize,
    /// Number of stages to run in parallel
    #[arg(long, default_value_t = 1, value_parser = bounds::whole(1..=bounds::MAX_JOBS))]
    jobs: usize,
    /// Serve the demo's runs when they are trained: a web page that captions your pictures
    #[arg(long)]
    serve: bool,
}

/// Width and height of the pictures on the page; the models see smaller ones.
const SHOWN_SIZE: u32 = 256;

/// Command line of `capsmith serve` with the runs of the demo.
#[derive(clap::Parser)]
struct ServeLine {
    #[command(flatten)]
    args: serve::Args,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let pictures = args.out.join("pictures");
    terminal::say(&format!(
        "$ capsmith dataset draw --out {} --count {}",
        printable_path(&pictures),
        args.count
    ));
    let drawn = demo_data::Options { count: args.count, ..dataset::DRAWN };
    dataset::draw(&pictures, &drawn)?;
    let shown = args.out.join("pictures-shown");
    dataset::draw(&shown, &demo_data::Options { size: SHOWN_SIZE, ..drawn })?;
    let weights = args.out.join("weights");
    write_folder(&MODELS, &weights)?;
    let line = reproduce::Args {
        table: PaperTable::Table1,
        configs: Some("demo".to_owned()),
        rows: Vec::new(),
        seeds: None,
        resume: true,
        rerun: false,
        dry_run: false,
        dataset: Some(pictures.clone()),
        weights: Some(weights.clone()),
        device: Vec::new(),
        jobs: args.jobs,
        from_published: false,
        out: Some(args.out.clone()),
    };
    terminal::say(&format!(
        "$ capsmith reproduce table1 --configs demo --dataset {} --weights {} --out {} --resume",
        printable_path(&pictures),
        printable_path(&weights),
        printable_path(&args.out)
    ));
    let presentation = Presentation {
        // The demo's only page; `capsmith reproduce` names its page after the table.
        page: args.out.join("index.html"),
        command: reproduce::command(),
        serve: Some(format!("capsmith demo --out {} --serve", printable_path(&args.out))),
        large_images: Some(shown.join("Images")),
    };
    let finished = reproduce::reproduce(&line, &presentation)?;
    let Some(Finished { results, runs }) = finished else { return Ok(()) };
    if terminal::interrupted().is_some() {
        return Ok(());
    }
    if results.rows.iter().any(|line| !line.is_scored()) {
        bail!("some rows could not be scored; the table says why");
    }
    let runs = runs.iter().flat_map(|run| ["--run".into(), run.clone().into_os_string()]);
    let line: Vec<std::ffi::OsString> = ["capsmith serve".into()].into_iter().chain(runs).collect();
    if args.serve {
        return serve::run(&ServeLine::parse_from(line).args);
    }
    terminal::say("caption your own pictures with the same command and --serve");
    Ok(())
}

/// Writes the files of an embedded folder that are missing or differ.
fn write_folder(folder: &Dir, out: &Path) -> anyhow::Result<()> {
    for file in folder.files() {
        let path = out.join(file.path());
        durable::create_dir_all(path.parent().unwrap_or(out))?;
        // An unchanged file keeps its time, by which its digest is remembered.
        durable::write_if_other(&path, file.contents())
            .with_context(|| format!("cannot write {}", printable_path(&path)))?;
    }
    folder.dirs().try_for_each(|folder| write_folder(folder, out))
}
