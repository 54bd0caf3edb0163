//! `capsmith demo`: reproduces Table 1 on drawn pictures, in one folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use foreign_text::printable_path;
use include_dir::{Dir, include_dir};

use crate::reproduce::{self, Finished, PaperTable};
use crate::{bounds, dataset, terminal};

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
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let pictures = args.out.join("pictures");
    terminal::say(&format!(
        "$ capsmith dataset draw --out {} --count {}",
        printable_path(&pictures),
        args.count
    ));
    dataset::draw(&pictures, &demo_data::Options { count: args.count, ..dataset::DRAWN })?;
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
    let Some(Finished { results, page }) = reproduce::reproduce(&line)? else { return Ok(()) };
    if terminal::interrupted().is_some() {
        return Ok(());
    }
    let index = args.out.join("index.html");
    durable::write(&index, &std::fs::read(&page)?)?;
    terminal::say(&format!("pictures, captions, keywords and scores: {}", printable_path(&index)));
    if results.rows.iter().any(|line| !line.is_scored()) {
        bail!("some rows could not be scored; the table says why");
    }
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
