//! Bounds of the numbers on the command line: an error names the option, its value and its range.

use std::ops::RangeInclusive;

use clap::builder::{RangedI64ValueParser, RangedU64ValueParser};

/// Pictures, captions or blocks in a batch.
pub const MOST_TOGETHER: u64 = 100_000;
/// Processes or runs at a time.
pub const MOST_JOBS: u64 = 1_024;
/// Steps of a training.
pub const MOST_STEPS: u64 = 1_000_000_000;
/// Tokens of a vocabulary.
pub const MOST_TOKENS: u64 = 1_000_000;
/// Layers of a network.
pub const MOST_LAYERS: i64 = 1_000;
/// The width of a network, of a picture or of a patch.
pub const MOST_WIDTH: i64 = 100_000;

/// Reads a whole number within a range.
pub fn whole(range: RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// Reads a size of a network, from 1.
pub fn size(most: i64) -> RangedI64ValueParser<i64> {
    RangedI64ValueParser::new().range(1..=most)
}

/// Reads a learning rate or decay.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if (0.0..=1e3).contains(&rate) { Ok(rate) } else { Err("it must be from 0 to 1000".to_owned()) }
}
