//! `--dtype`, the short form of `--set decoding.dtype=...`.

use clap::builder::PossibleValuesParser;
use recipes::DecodingDtype;

/// Returns a parser of the names of types.
pub fn names() -> PossibleValuesParser {
    DecodingDtype::ALL.map(DecodingDtype::name).into()
}

/// Returns the setting of a run that `--dtype NAME` is short for.
pub fn setting(name: &String) -> String {
    format!("decoding.dtype={name}")
}
