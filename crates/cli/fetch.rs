//! `capsmith fetch`.

use caption_metrics::cli::{FetchMeteorArgs, fetch_meteor};
use clap::Subcommand;
use hub::cli::{
    FetchDataSetArgs, FetchWeightsArgs, fetch_flickr8k, fetch_flickr30k, fetch_weights,
};

use crate::models::Shown;

#[derive(Subcommand)]
pub enum Command {
    Meteor(FetchMeteorArgs),
    Weights(FetchWeightsArgs),
    /// Fetch Flickr8k and Karpathy's splits of it, check and unpack them.
    ///
    /// Stopped or cut off, the same command goes on where it was.
    Flickr8k(FetchDataSetArgs),
    /// Fetch Karpathy's split of Flickr30k, and unpack the pictures where you have put them.
    ///
    /// The pictures are given only to who accepts their terms; the command says where.
    Flickr30k(FetchDataSetArgs),
}

pub fn run(command: &Command) -> anyhow::Result<()> {
    let out = &mut std::io::stdout().lock();
    let shown = &mut Shown::default();
    match command {
        Command::Meteor(args) => fetch_meteor(args, out),
        Command::Weights(args) => Ok(fetch_weights(args, shown, out)?),
        Command::Flickr8k(args) => Ok(fetch_flickr8k(args, shown, out)?),
        Command::Flickr30k(args) => Ok(fetch_flickr30k(args, shown, out)?),
    }
}
