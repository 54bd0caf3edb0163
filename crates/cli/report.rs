//! `capsmith report`.

use std::path::PathBuf;

use anyhow::Context;
use report::Run;

use crate::terminal;

/// Show runs beside each other: scores, captions, curves, configurations.
///
/// Writes one HTML page that needs nothing but itself; small pictures are in it. Runs are called by
/// their folders. What a run does not have yet is said in its place, with the command that makes it.
#[derive(clap::Args)]
pub struct Args {
    /// Run folders.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let names = report::names(&args.runs)?;
    let runs = args.runs.iter().zip(names).map(|(path, name)| {
        Run::open(path, name).with_context(|| format!("cannot show {}", path.display()))
    });
    let runs = runs.collect::<anyhow::Result<Vec<_>>>()?;
    let page = report::page("capsmith report", &report::sections(&runs)?);
    durable::write(&args.out, page.as_bytes())?;
    let size = page.len() as f64 / 1e6;
    terminal::say(&format!("{} ({size:.1} MB) is ready; open it in a browser", args.out.display()));
    Ok(())
}
