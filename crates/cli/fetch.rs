//! `capsmith fetch`.

use caption_metrics::cli::{FetchMeteorArgs, fetch_meteor};
use clap::Subcommand;
use hub::cli::{FetchDataSetArgs, FetchWeightsArgs, fetch_data_set, fetch_weights};
use hub::{FLICKR8K, FLICKR30K};

use crate::terminal::Bar;

#[derive(Subcommand)]
pub enum Command {
    Meteor(FetchMeteorArgs),
    Weights(FetchWeightsArgs),
    /// Download, verify and unpack Flickr8k and Karpathy's splits of it.
    ///
    /// Run the command again to resume an interrupted download.
    Flickr8k(FetchDataSetArgs),
    /// Download Karpathy's splits of Flickr30k, and unpack the pictures that you provide.
    ///
    /// You must request the pictures yourself by accepting their terms; the command prints where.
    Flickr30k(FetchDataSetArgs),
}

pub fn run(command: &Command) -> anyhow::Result<()> {
    let out = &mut std::io::stdout().lock();
    let progress = &mut Bar::default();
    match command {
        Command::Meteor(args) => fetch_meteor(args, out),
        Command::Weights(args) => Ok(fetch_weights(args, progress, out)?),
        Command::Flickr8k(args) => Ok(fetch_data_set(&FLICKR8K, args, progress, out)?),
        Command::Flickr30k(args) => Ok(fetch_data_set(&FLICKR30K, args, progress, out)?),
    }
}
