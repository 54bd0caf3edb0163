//! `capsmith fetch`.

use caption_metrics::cli::{FetchMeteorArgs, fetch_meteor};
use clap::Subcommand;

#[derive(Subcommand)]
pub enum Command {
    Meteor(FetchMeteorArgs),
}

pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Meteor(args) => Ok(fetch_meteor(args, &mut std::io::stdout().lock())?),
    }
}
