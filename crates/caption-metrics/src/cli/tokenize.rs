//! `tokenize`.

use std::io::{BufRead, Write};

use clap::Args;

use super::{Failure, check_threads};
use crate::ptb;

/// Tokenize standard input as pycocoevalcap's PTB tokenizer does: a caption a line.
///
/// All lines are taken together, because a caption's last token may depend on the next caption.
#[derive(Args, Clone, Copy, Debug)]
pub struct TokenizeArgs {
    /// A line is a JSON string, in and out
    #[arg(long)]
    pub json: bool,
}

/// Tokenizes `input`, a caption a line.
///
/// # Errors
/// [`Failure::StandardInput`] names the line that is not UTF-8 or no JSON string.
pub fn tokenize(
    args: TokenizeArgs,
    mut input: impl BufRead,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    check_threads()?;
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        // What stands after the last line end is no line.
        lines.pop();
    }
    let captions = lines
        .iter()
        .zip(1..)
        .map(|(bytes, line)| {
            let wrong = |message: String| Failure::StandardInput { line, message };
            let text = std::str::from_utf8(bytes)
                .map_err(|error| wrong(format!("byte {} is not UTF-8", error.valid_up_to() + 1)))?;
            if args.json {
                serde_json::from_str(text)
                    .map_err(|error| wrong(format!("expected a JSON string: {error}")))
            } else {
                Ok(text.to_owned())
            }
        })
        .collect::<Result<Vec<String>, Failure>>()?;
    for tokens in ptb::tokenize(&captions).captions {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&tokens)?)?;
        } else {
            writeln!(out, "{tokens}")?;
        }
    }
    Ok(())
}
