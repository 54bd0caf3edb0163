//! `capsmith fetch`.

use caption_metrics::cli::{FetchMeteorArgs, fetch_meteor};
use clap::Subcommand;
use hub::Unit;
use hub::cli::{
    FetchDataSetArgs, FetchWeightsArgs, fetch_flickr8k, fetch_flickr30k, fetch_weights,
};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::terminal;

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
        Command::Meteor(args) => Ok(fetch_meteor(args, out)?),
        Command::Weights(args) => Ok(fetch_weights(args, shown, out)?),
        Command::Flickr8k(args) => Ok(fetch_flickr8k(args, shown, out)?),
        Command::Flickr30k(args) => Ok(fetch_flickr30k(args, shown, out)?),
    }
}

/// A bar for what is under way; lines where bars are not shown.
#[derive(Default)]
pub struct Shown {
    bar: Option<ProgressBar>,
    lines: terminal::Lines,
    what: String,
    unit: Option<Unit>,
}

impl Shown {
    fn amount(&self, number: u64) -> String {
        match self.unit {
            Some(Unit::Bytes) => HumanBytes(number).to_string(),
            _ => number.to_string(),
        }
    }
}

impl hub::Progress for Shown {
    fn start(&mut self, what: &str, unit: Unit, total: Option<u64>, done: u64) {
        let mut bar = terminal::bar(total.unwrap_or_default(), what);
        let template =
            "{prefix} {wide_bar:.cyan/dim} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
        if unit == Unit::Bytes
            && let Ok(style) = ProgressStyle::with_template(template)
        {
            bar = bar.with_style(style);
        }
        self.unit = Some(unit);
        bar.set_position(done);
        bar.reset_eta();
        what.clone_into(&mut self.what);
        self.bar = Some(bar);
    }

    fn position(&mut self, done: u64) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(done);
        if self.lines.due() {
            let total = bar.length().filter(|total| *total > 0);
            let total = total.map(|total| format!(" of {}", self.amount(total)));
            let total = total.unwrap_or_default();
            terminal::say(&format!("{}: {}{total}", self.what, self.amount(done)));
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn say(&mut self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| terminal::say(line)),
            None => terminal::say(line),
        }
    }
}
