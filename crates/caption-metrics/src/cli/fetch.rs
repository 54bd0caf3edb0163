//! `fetch meteor`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use crate::meteor::resources::{Resources, build, default_path, fetch};

/// Convert METEOR's resources from the Python package pycocoevalcap 1.2.
#[derive(Args, Clone, Debug)]
pub struct FetchMeteorArgs {
    /// Wheel of pycocoevalcap 1.2 or a folder with its contents; without it pip downloads the wheel
    #[arg(long, value_name = "PATH")]
    pub from: Option<PathBuf>,
}

/// Builds the resources at their default path.
///
/// # Errors
/// Fails as [`fetch`](crate::meteor::resources::fetch) and
/// [`build`](crate::meteor::resources::build).
pub fn fetch_meteor(args: &FetchMeteorArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let destination = default_path()?;
    let built = match &args.from {
        Some(package) => build(package, &destination)?,
        None => fetch(&destination)?,
    };
    let start = Instant::now();
    Resources::open(&destination)?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    writeln!(
        out,
        "{}: {:.1} MB, {} paraphrases, opens in {milliseconds:.1} ms",
        foreign_text::printable_path(&built.path),
        built.bytes as f64 / 1e6,
        built.paraphrases
    )?;
    Ok(())
}
