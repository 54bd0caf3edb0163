//! `df`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use foreign_text::printable_path;

use super::{check_threads, refuse_overwriting};
use crate::{CiderFrequencies, References, Tokenizer};

/// Count document frequencies of references, for `evaluate --cider-df`.
///
/// CIDEr weighs an n-gram by the number of images whose references hold it. With the frequencies
/// of a whole data set, a score does not depend on which of its images are scored together.
#[derive(Args, Clone, Debug)]
pub struct FrequenciesArgs {
    /// Reference captions
    pub references: PathBuf,

    /// File for the document frequencies, as JSON
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Tokenizer of the references; it must be that of `evaluate`
    #[arg(long, value_name = "none|ptb", default_value_t = Tokenizer::Ptb)]
    pub tokenizer: Tokenizer,
}

/// Counts the n-grams of references and writes their document frequencies.
///
/// # Errors
/// Fails with what is wrong with the input, and writes nothing then.
pub fn count_frequencies(args: &FrequenciesArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    check_threads()?;
    refuse_overwriting(&[Some(&args.out)], &[Some(&args.references)])?;
    let references = References::read(&args.references)?;
    let frequencies = CiderFrequencies::new(&references, args.tokenizer)
        .map_err(|error| error.in_file(&args.references))?;
    durable::write_with(&args.out, |file| frequencies.write_json(file))?;
    writeln!(
        out,
        "{}: {} n-grams of {} images, tokenizer {}",
        printable_path(&args.out),
        frequencies.len(),
        frequencies.images(),
        frequencies.tokenizer()
    )?;
    Ok(())
}
