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
    if (0.0..=1e38).contains(&rate) {
        Ok(rate)
    } else {
        Err("it must be from 0 to 1e38".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use clap::{Arg, Command, CommandFactory};

    use crate::Cli;

    /// Options of which every number is as good as another, or which are checked with what they belong to:
    /// a data set has so many captions, a drawn set its own bounds, a model its own config.
    const CHECKED_ELSEWHERE: [&str; 12] = [
        "alt_texts",
        "bootstrap",
        "count",
        "dropout",
        "heads",
        "initializer_factor",
        "resamples",
        "seed",
        "shuffle_embeddings",
        "size",
        "stop_after_epochs",
        "test_captions",
    ];

    fn is_number(arg: &Arg) -> bool {
        let of = arg.get_value_parser().type_id();
        [
            TypeId::of::<usize>(),
            TypeId::of::<u64>(),
            TypeId::of::<u32>(),
            TypeId::of::<u16>(),
            TypeId::of::<i64>(),
            TypeId::of::<f64>(),
        ]
        .iter()
        .any(|number| of == *number)
    }

    /// Tries the numbers of a command and its subcommands, and returns how many options have bounds.
    fn try_numbers(words: &[&str], command: &Command) -> usize {
        let mut bounded = 0;
        for arg in command.get_arguments().filter(|arg| is_number(arg)) {
            if CHECKED_ELSEWHERE.contains(&arg.get_id().as_str()) {
                continue;
            }
            bounded += 1;
            let option = format!("--{}", arg.get_long().unwrap());
            let is_float = arg.get_value_parser().type_id() == TypeId::of::<f64>();
            let large = if is_float { "1e300" } else { "1000000000000" };
            for number in [large, "99999999999999999999e20", "-1", "nan", "inf"] {
                let set = format!("{option}={number}");
                let parsed = Cli::command().try_get_matches_from([words, &[&set]].concat());
                let error = parsed.unwrap_err().to_string();
                let named = format!("invalid value '{number}' for '{option} ");
                assert!(error.contains(&named), "{words:?} {set}: {error}");
            }
        }
        for command in command.get_subcommands() {
            bounded += try_numbers(&[words, &[command.get_name()]].concat(), command);
        }
        bounded
    }

    #[test]
    fn every_number_of_the_command_line_has_bounds_and_an_error_that_names_it() {
        let bounded = try_numbers(&["capsmith"], &Cli::command());
        assert!(bounded > 30, "only {bounded} options were tried");
    }
}
