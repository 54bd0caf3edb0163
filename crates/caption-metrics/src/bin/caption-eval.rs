//! `caption-eval`: scores image captions as pycocoevalcap does, without Python or Java.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use caption_metrics::cli::{
    EvaluateArgs, FetchMeteorArgs, FrequenciesArgs, TokenizeArgs, count_frequencies, evaluate,
    fetch_meteor, tokenize,
};
use clap::{Parser, Subcommand};
use indicatif::MultiProgress;

/// BLEU, METEOR, ROUGE-L and CIDEr as pycocoevalcap computes them, without Python or Java.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Evaluate(Box<EvaluateArgs>),
    Df(FrequenciesArgs),
    Tokenize(TokenizeArgs),
    /// Fetch resources of a metric
    Fetch {
        #[command(subcommand)]
        resource: Resource,
    },
}

#[derive(Subcommand)]
enum Resource {
    Meteor(FetchMeteorArgs),
}

fn say(line: &str) {
    // A closed standard error or a full disk leaves nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    match &cli.command {
        Command::Evaluate(args) => evaluate(args, &mut out, &MultiProgress::new(), say)?,
        Command::Df(args) => count_frequencies(args, &mut out)?,
        Command::Tokenize(args) => tokenize(*args, io::stdin().lock(), &mut out)?,
        Command::Fetch { resource: Resource::Meteor(args) } => fetch_meteor(args, &mut out)?,
    }
    out.flush()?;
    Ok(())
}

/// Returns whether the reader of the output went away, which is no failure to report.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn main() -> ExitCode {
    // Without it, a write beyond the limit ends the process.
    let _ = durable::fail_at_the_size_limit();
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
