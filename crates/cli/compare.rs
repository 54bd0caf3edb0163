//! `capsmith evaluate compare RUN RUN`: a paired test on the official scores of two runs.

use std::path::{Path, PathBuf};

use anyhow::bail;
use caption_metrics::References;
use caption_metrics::cli::CompareArgs;
use foreign_text::printable_path;
use runs::{RunFolder, ScoresFile};

/// Replaces two runs by the files of their official evaluations; leaves files as they are.
///
/// Without `--tokenizer`, the captions are tokenized as for the runs' scores.
pub fn with_files_of_runs(args: &CompareArgs) -> anyhow::Result<CompareArgs> {
    let mut args = args.clone();
    if !args.a.is_dir() && !args.b.is_dir() {
        return Ok(args);
    }
    let [a, b] = [&args.a, &args.b].map(|run| official(run));
    let ((a, tokenizer), (b, other)) = (a?, b?);
    if args.scoring.tokenizer.is_none() {
        if tokenizer != other {
            bail!(
                "the scores of {} are on tokens of {tokenizer}, those of {} on tokens of {other}\nhint: name one tokenizer for both with --tokenizer",
                printable_path(&args.a),
                printable_path(&args.b)
            );
        }
        args.scoring.tokenizer = Some(tokenizer.parse()?);
    }
    if args.references.is_none() {
        let [of_a, of_b] = [&a, &b].map(|folder| folder.join("references.json"));
        if References::read(&of_a)? != References::read(&of_b)? {
            bail!(
                "{} and {} have other reference captions or pictures\nhint: compare runs of one split and one kind of system, or name a file for both with --references",
                printable_path(&of_a),
                printable_path(&of_b)
            );
        }
        args.references = Some(of_a);
    }
    [args.a, args.b] = [a, b].map(|folder| folder.join("predictions.json"));
    Ok(args)
}

/// Returns the folder of a run's official scores after checking its digests, and the tokenizer.
fn official(run: &Path) -> anyhow::Result<(PathBuf, String)> {
    let folder = RunFolder::open(run)?.official_evaluation()?;
    let tokenizer = ScoresFile::read(&folder)?.protocol.tokenizer;
    Ok((folder, tokenizer))
}
