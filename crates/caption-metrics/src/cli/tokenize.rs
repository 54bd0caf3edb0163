//! `tokenize`.

use std::io::{BufRead, Write};

use anyhow::anyhow;
use clap::Args;

use super::check_threads;
use crate::ptb;

/// Tokenize standard input, one caption per line, as pycocoevalcap's PTB tokenizer does.
///
/// The tokenizer reads all lines together, because a caption's last token may depend on the next
/// caption.
#[derive(Args, Clone, Copy, Debug)]
pub struct TokenizeArgs {
    /// Read and write each line as a JSON string
    #[arg(long)]
    pub json: bool,
}

/// Tokenizes `input`, one caption per line.
///
/// # Errors
/// Names the line that is not UTF-8 or no JSON string.
pub fn tokenize(
    args: TokenizeArgs,
    mut input: impl BufRead,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    check_threads()?;
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    // The end of the last line starts no other.
    lines.pop_if(|last| last.is_empty());
    let captions = lines.iter().zip(1..).map(|(bytes, line)| {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let byte = error.valid_up_to() + 1;
            anyhow!("standard input, line {line}: byte {byte} is not UTF-8")
        })?;
        if !args.json {
            return Ok(text.to_owned());
        }
        serde_json::from_str(text).map_err(|error| {
            anyhow!("standard input, line {line}: expected a JSON string: {error}")
        })
    });
    let captions = captions.collect::<anyhow::Result<Vec<String>>>()?;
    for tokens in ptb::tokenize(&captions).captions {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&tokens)?)?;
        } else {
            writeln!(out, "{tokens}")?;
        }
    }
    Ok(())
}
