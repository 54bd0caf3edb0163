//! `capsmith report`.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use foreign_text::{first_of, printable_path};
use report::{Footer, Run};
use runs::RunFolder;

use crate::{reproduce, terminal};

/// Compare runs side by side on one HTML page.
///
/// The page shows scores, the same test pictures captioned by every run, training curves, scores
/// after each epoch, best and worst captions, caption lengths, keywords, and differences between
/// the configs. It is self-contained, thumbnails included. Where a run lacks something, the page
/// names the command that makes it.
#[derive(clap::Args)]
pub struct Args {
    /// Run folders, such as runs/*; each run is named after its folder.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Folder of the runs' data set, if it has moved.
    #[arg(long, value_name = "DIR")]
    dataset: Option<PathBuf>,
    /// HTML file to write
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    refuse_other_file(&args.out)?;
    if let Some(missing) = args.dataset.as_ref().filter(|dataset| !dataset.exists()) {
        bail!("there is no folder {}; --dataset names the runs' data set", printable_path(missing));
    }
    // Other folders beside the runs, as under runs/*, do not stop the page.
    let is_other = |path: &&PathBuf| path.is_dir() && !RunFolder::new(path).exists();
    let (others, mut paths): (Vec<PathBuf>, Vec<PathBuf>) =
        args.runs.iter().cloned().partition(|path| is_other(&path));
    if paths.is_empty() {
        paths.clone_from(&args.runs);
    } else if !others.is_empty() {
        let names = first_of(others.iter().map(|path| path.display().to_string()));
        terminal::say(&format!("note: no run folders: {names}"));
    }
    let names = report::names(&paths)?;
    let runs = paths.iter().zip(names).map(|(path, name)| {
        let run = Run::open(path, name)
            .with_context(|| format!("cannot show {}", printable_path(path)))?;
        Ok(match &args.dataset {
            Some(dataset) => run.with_data_set(dataset),
            None => run,
        })
    });
    let runs = runs.collect::<anyhow::Result<Vec<_>>>()?;
    let footer =
        Footer { machine: report::machines(&runs), ..Footer::of_command(reproduce::command()) };
    let page = report::page(&report::title(&runs), &report::sections(&runs)?, &footer);
    durable::write(&args.out, page.as_bytes())?;
    let size = page.len() as f64 / 1e6;
    terminal::say(&format!(
        "wrote {} ({size:.1} MB); open it in a browser",
        printable_path(&args.out)
    ));
    Ok(())
}

/// Fails if the page would replace a file that is no HTML page.
fn refuse_other_file(out: &Path) -> anyhow::Result<()> {
    const START: &[u8] = b"<!doctype html";
    let mut start = Vec::new();
    let Ok(file) = File::open(out) else { return Ok(()) };
    let read = file.take(START.len() as u64).read_to_end(&mut start);
    if read.is_ok() && !start.eq_ignore_ascii_case(START) && !start.is_empty() {
        bail!("{} exists and is not an HTML page; choose another --out", printable_path(out));
    }
    Ok(())
}
