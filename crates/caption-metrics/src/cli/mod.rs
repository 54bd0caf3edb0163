//! The command line, for `caption-eval` and for programs that have the same commands among others.
//!
//! Each command is a clap `Args` and a function that runs it and writes its output to `out`.

mod evaluate;
mod fetch;
mod frequencies;
mod scoring;
mod tokenize;

use std::path::Path;

use anyhow::bail;
use foreign_text::printable_path;

pub use evaluate::{
    CompareArgs, CorrelateArgs, EvaluateArgs, EvaluateCommand, JudgesArgs, evaluate, print_scores,
};
pub use fetch::{FetchMeteorArgs, fetch_meteor};
pub use frequencies::{FrequenciesArgs, count_frequencies};
pub use scoring::{Note, ScoringArgs};
pub use tokenize::{TokenizeArgs, tokenize};

/// Threads that may score; each takes memory, and more than a machine's cores gain nothing.
const MAX_THREADS: u64 = 1024;

/// Refuses a `RAYON_NUM_THREADS` that would exhaust the machine.
fn check_threads() -> anyhow::Result<()> {
    check_count(std::env::var("RAYON_NUM_THREADS").ok().as_deref())
}

fn check_count(threads: Option<&str>) -> anyhow::Result<()> {
    let threads = threads.and_then(|threads| threads.trim().parse::<u64>().ok());
    if threads.is_some_and(|threads| threads > MAX_THREADS) {
        bail!("RAYON_NUM_THREADS is more than 1024; set it to the number of cores or fewer");
    }
    Ok(())
}

/// Fails if a file to write is one of those that are read, or is named twice.
fn refuse_overwriting(outputs: &[Option<&Path>], inputs: &[Option<&Path>]) -> anyhow::Result<()> {
    let outputs: Vec<&Path> = outputs.iter().copied().flatten().collect();
    for (number, out) in outputs.iter().enumerate() {
        let earlier = outputs[..number].iter().copied();
        let mut others = inputs.iter().copied().flatten().chain(earlier);
        if let Some(other) = others.find(|other| is_same(out, other)) {
            bail!(
                "{} would be written over {}; name another file",
                printable_path(out),
                printable_path(other)
            );
        }
    }
    Ok(())
}

fn is_same(a: &Path, b: &Path) -> bool {
    a == b || matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_is_written_over_one_that_is_read_or_written() {
        let folder = tempfile::tempdir().unwrap();
        let read = folder.path().join("captions.json");
        std::fs::write(&read, "{}").unwrap();
        let [same, new, other] =
            ["./captions.json", "a.json", "b.json"].map(|name| folder.path().join(name));
        let inputs = [None, Some(&*read)];
        assert!(refuse_overwriting(&[Some(&new), Some(&other), None], &inputs).is_ok());
        for second in [&same, &new] {
            let outputs = [Some(&*new), Some(second)];
            let error = refuse_overwriting(&outputs, &inputs).unwrap_err().to_string();
            assert!(error.contains("name another file"), "{error}");
        }
    }

    #[test]
    fn more_threads_than_any_machine_has_are_refused() {
        for wanted in [None, Some("8"), Some("1024"), Some(""), Some("many")] {
            assert!(check_count(wanted).is_ok(), "{wanted:?}");
        }
        for wanted in ["1025", " 1000000 "] {
            let error = check_count(Some(wanted)).err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| error.contains("1024")), "{wanted}");
        }
    }
}
