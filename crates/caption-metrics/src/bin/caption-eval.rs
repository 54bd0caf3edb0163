//! `caption-eval`: scores image captions as pycocoevalcap does, without Python or Java.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use caption_metrics::cli::{
    EvaluateArgs, Failure, FetchMeteorArgs, TokenizeArgs, evaluate, fetch_meteor, tokenize,
};
use clap::{Parser, Subcommand};

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
    Tokenize(TokenizeArgs),
    /// Bring what the metrics need
    Fetch {
        #[command(subcommand)]
        what: Fetch,
    },
}

#[derive(Subcommand)]
enum Fetch {
    Meteor(FetchMeteorArgs),
}

fn run(cli: &Cli) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    match &cli.command {
        Command::Evaluate(args) => evaluate(args, &mut out)?,
        Command::Tokenize(args) => tokenize(*args, io::stdin().lock(), &mut out)?,
        Command::Fetch { what: Fetch::Meteor(args) } => fetch_meteor(args, &mut out)?,
    }
    out.flush()?;
    Ok(())
}

fn main() -> ExitCode {
    // Without it, a write beyond the limit ends the process.
    let _ = durable::fail_at_the_size_limit();
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
