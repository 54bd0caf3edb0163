//! `capsmith report`.

use std::path::PathBuf;

use anyhow::Context;
use foreign_text::printable_path;
use report::Run;

use crate::terminal;

/// Show runs beside each other on one page.
///
/// Scores, the same test pictures captioned by every run, curves of training, scores after each epoch,
/// best and worst captions, lengths, keywords, and in what configurations differ. The page is one HTML
/// file that needs nothing but itself; small pictures are in it. What a run does not have yet is said in
/// its place, with the command that makes it.
#[derive(clap::Args)]
pub struct Args {
    /// Run folders, such as runs/*; each is called by its folder's name.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let names = report::names(&args.runs)?;
    let runs = args.runs.iter().zip(names).map(|(path, name)| {
        Run::open(path, name).with_context(|| format!("cannot show {}", printable_path(path)))
    });
    let runs = runs.collect::<anyhow::Result<Vec<_>>>()?;
    let page = report::page("capsmith report", &report::sections(&runs)?);
    durable::write(&args.out, page.as_bytes())?;
    let size = page.len() as f64 / 1e6;
    terminal::say(&format!(
        "{} ({size:.1} MB) is ready; open it in a browser",
        printable_path(&args.out)
    ));
    Ok(())
}
