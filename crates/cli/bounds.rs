//! Bounds of numeric options: an error names the option, its value and its range.

use std::ops::RangeInclusive;

use clap::builder::{RangedI64ValueParser, RangedU64ValueParser};

/// Maximum batch size, in images, captions or blocks.
pub const MAX_BATCH: u64 = 100_000;
/// Maximum number of parallel processes or runs.
pub const MAX_JOBS: u64 = 1_024;
/// Maximum number of training steps.
pub const MAX_STEPS: u64 = 1_000_000_000;
/// Maximum number of tokens of a vocabulary.
pub const MAX_TOKENS: u64 = 1_000_000;
/// Maximum number of layers of a network.
pub const MAX_LAYERS: i64 = 1_000;
/// Maximum width of a network, an image or a patch.
pub const MAX_WIDTH: i64 = 100_000;

/// Returns a parser of whole numbers within a range.
pub fn whole(range: RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// Returns a parser of network sizes from 1 to `most`.
pub fn size(most: i64) -> RangedI64ValueParser<i64> {
    RangedI64ValueParser::new().range(1..=most)
}

/// Parses a learning rate or weight decay.
pub fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    if (0.0..=1e38).contains(&rate) {
        Ok(rate)
    } else {
        Err("it must be from 0 to 1e38".to_owned())
    }
}

/// Parses a probability of dropout, below 1.
pub fn dropout(text: &str) -> Result<f64, String> {
    match rate(text)? {
        probability if probability < 1.0 => Ok(probability),
        _ => Err("it must be from 0 to below 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;

    use clap::{Arg, Command};

    /// Options without bounds of their own: any number is valid, or the data set, the drawn set or
    /// the model's config checks it.
    const CHECKED_ELSEWHERE: [&str; 14] = [
        "alt_texts",
        "bootstrap",
        "control",
        "count",
        "dropout",
        "heads",
        "initializer_factor",
        "resamples",
        "seed",
        "size",
        "split_seed",
        "stop_after_epochs",
        "test_captions",
        "validation_captions",
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

    /// Tries invalid numbers in a command and its subcommands; returns the number of bounded
    /// options.
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
                let parsed = crate::command_line().try_get_matches_from([words, &[&set]].concat());
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
        let bounded = try_numbers(&["capsmith"], &crate::command_line());
        assert!(bounded > 30, "only {bounded} options were tried");
    }
}
