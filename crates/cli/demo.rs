//! `capsmith demo`: the whole of Table 1 on pictures that capsmith draws, in one folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use foreign_text::printable_path;
use include_dir::{Dir, include_dir};

use crate::reproduce::{self, Finished, WhichTable};
use crate::{bounds, dataset, terminal};

/// The small models that `cargo xtask pretrain` makes, so that the program needs no repository.
static MODELS: Dir = include_dir!("$CARGO_MANIFEST_DIR/data/models");

/// The whole of Table 1 on pictures that capsmith draws, in minutes and without a network or GPU.
///
/// Draws a data set, lays out a small CLIP and a small GPT-2 that were trained on other drawn pictures and
/// captions (`capsmith pretrain`), and then does what `capsmith reproduce table1 --configs demo` does: every row
/// from data to scores. Opens with pictures, captions and keywords at OUT/index.html. Run again, it goes on
/// where it was stopped.
#[derive(clap::Args)]
pub struct Args {
    /// Folder for everything the demo makes.
    #[arg(long, default_value = "demo")]
    out: PathBuf,
    /// Pictures to draw.
    #[arg(long, default_value_t = 1500)]
    count: usize,
    /// Steps that run side by side.
    #[arg(long, default_value_t = 1, value_parser = bounds::whole(1..=bounds::MOST_JOBS))]
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
    lay_out(&MODELS, &weights)?;
    let line = reproduce::Args {
        table: WhichTable::Table1,
        configs: Some("demo".to_owned()),
        rows: Vec::new(),
        seeds: None,
        resume: true,
        dry_run: false,
        data: Some(pictures.clone()),
        weights: Some(weights.clone()),
        device: Vec::new(),
        jobs: args.jobs,
        from_published: false,
        out: Some(args.out.clone()),
    };
    terminal::say(&format!(
        "$ capsmith reproduce table1 --configs demo --data {} --weights {} --out {} --resume",
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
        bail!("not all rows could be scored; the table says why");
    }
    Ok(())
}

/// Writes the files of an embedded folder that are not there as they are to be.
fn lay_out(folder: &Dir, out: &Path) -> anyhow::Result<()> {
    for file in folder.files() {
        let path = out.join(file.path());
        durable::create_dir_all(path.parent().unwrap_or(out))?;
        // A new time of change would look like another model.
        durable::write_if_other(&path, file.contents())
            .with_context(|| format!("cannot lay out {}", printable_path(&path)))?;
    }
    folder.dirs().try_for_each(|folder| lay_out(folder, out))
}
