//! `fetch meteor`.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::Failure;
use crate::meteor::resources::{Resources, build, default_path, fetch};

/// Make METEOR's resources from the Python package pycocoevalcap 1.2.
#[derive(Args, Clone, Debug)]
pub struct FetchMeteorArgs {
    /// The wheel of pycocoevalcap 1.2 or a folder that has it unpacked; without it pip downloads it
    #[arg(long, value_name = "PATH")]
    pub from: Option<PathBuf>,
}

/// Makes the resources where programs look for them.
///
/// # Errors
/// Those of [`fetch`](crate::meteor::resources::fetch) and [`build`](crate::meteor::resources::build).
pub fn fetch_meteor(args: &FetchMeteorArgs, out: &mut dyn Write) -> Result<(), Failure> {
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
