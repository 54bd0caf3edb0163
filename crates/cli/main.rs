//! Command line of `capsmith`: definitions of the commands, and calls of the libraries.

mod baseline;
mod bench;
mod bounds;
mod caption;
mod clip_scores;
mod compare;
mod data_set;
mod dataset;
mod demo;
mod doctor;
mod dtype;
mod environment;
mod evaluate;
mod export;
mod export_features;
mod fetch;
mod import;
mod import_features;
mod init;
mod keywords;
mod manual;
mod mkl;
mod models;
mod precompute;
mod pretrain;
mod process;
mod report;
mod reproduce;
mod run_arg;
mod serve;
mod stage_screen;
mod sweep;
mod table;
mod terminal;
mod train;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, FromArgMatches as _, Parser, Subcommand};
use launchers::ProcessRank;
use networks::libtorch;
use networks::memory::catch_out_of_memory;
use tch::TchError;

/// Train, evaluate and reproduce CLIP-prefix image captioning on Flickr8k and Flickr30k.
///
/// The usual order: `dataset check` a folder of pictures and captions, `precompute` its CLIP
/// embeddings, `train` a run from a config, `evaluate` the run, and `caption` your own pictures.
/// SBG also needs `keywords` before `train`. `report` compares runs on one page, `serve` captions
/// in the browser. `reproduce` runs all steps for every row of a table of the paper, and `demo`
/// does so on pictures that capsmith draws. `capsmith COMMAND --help` explains a command.
#[derive(Parser)]
#[command(name = "capsmith", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Show decisions on stderr too, such as cache hits, devices and files; -vv also each request
    /// and written file. For a problem report: capsmith -v COMMAND 2> log.txt
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Show only warnings and errors on stderr, without progress bars; -qq only errors. Results on
    /// stdout are unchanged
    #[arg(short, long, global = true, action = ArgAction::Count)]
    quiet: u8,
}

#[derive(Subcommand)]
enum Command {
    // The other commands' help is at their arguments.
    /// Check a data set, or draw one.
    #[command(subcommand)]
    Dataset(dataset::Command),
    Precompute(precompute::Args),
    /// Build keyword lists and select the keywords of each picture, for SBG.
    #[command(subcommand)]
    Keywords(keywords::Command),
    /// Create models with random weights, where pretrained ones are not available.
    #[command(subcommand)]
    Init(init::Command),
    /// Train small models where pretrained ones are not available, or tune an image encoder.
    #[command(subcommand)]
    Pretrain(pretrain::Command),
    Train(train::Args),
    Sweep(sweep::Args),
    Caption(caption::Args),
    Serve(serve::Args),
    Evaluate(Box<evaluate::Args>),
    /// Caption without a model, to compare systems with.
    #[command(subcommand)]
    Baseline(baseline::Command),
    Report(report::Args),
    Reproduce(reproduce::Args),
    Import(import::Args),
    Export(export::Args),
    ImportFeatures(import_features::Args),
    ExportFeatures(export_features::Args),
    /// Download data sets, pretrained weights and METEOR's resources.
    #[command(subcommand)]
    Fetch(fetch::Command),
    /// Measure training, decoding and preprocessing against the Python reference.
    #[command(subcommand)]
    Bench(bench::Command),
    Doctor(doctor::Args),
    Demo(demo::Args),
    Completions(manual::CompletionsArgs),
    Man(manual::ManArgs),
}

/// Returns the definition of the command line. Each `--out` has the short form `-o`.
fn command_line() -> clap::Command {
    with_short_out(Cli::command())
}

fn with_short_out(command: clap::Command) -> clap::Command {
    let has_out = command.get_arguments().any(|arg| arg.get_long() == Some("out"));
    let command = if has_out { command.mut_arg("out", |out| out.short('o')) } else { command };
    command.mut_subcommands(with_short_out)
}

fn main() -> ExitCode {
    mkl::keep_symbol();
    // Otherwise a write beyond the file size limit ends the process.
    let _ = durable::fail_at_the_size_limit();
    let parsed = Cli::from_arg_matches(&command_line().get_matches());
    let Cli { command, verbose, quiet } = parsed.unwrap_or_else(|error| error.exit());
    // `conflicts_with` does not see one of them before a subcommand and the other after it.
    if verbose > 0 && quiet > 0 {
        let message = "--verbose cannot be used with --quiet";
        command_line().error(ErrorKind::ArgumentConflict, message).exit();
    }
    if command.computes() {
        environment::complete();
    }
    terminal::stop_with_stdin();
    terminal::init(verbose, quiet);
    environment::log();
    let shared = command.is_shared();
    let result = if !shared && is_one_of_several() {
        Err(anyhow::anyhow!(
            "a launcher started several processes, but this command runs in one\nhint: start it once, without the launcher"
        ))
    } else {
        catch_out_of_memory(|| command.run()).unwrap_or_else(|exhausted| {
            Err(anyhow::anyhow!(
                "{exhausted}\nhint: use a smaller batch or model, or choose another device with --device"
            ))
        })
    };
    match result {
        Ok(()) => terminal::interrupted().map_or(ExitCode::SUCCESS, ExitCode::from),
        // A reader such as `head` that has seen enough is no failure.
        Err(error) if terminal::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::say(&format!("error: {}", message(&error)));
            terminal::interrupted().map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}

impl Command {
    fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Dataset(command) => dataset::run(command),
            Self::Precompute(args) => precompute::run(&args),
            Self::Keywords(command) => keywords::run(&command),
            Self::Init(command) => init::run(command),
            Self::Pretrain(command) => pretrain::run(&command),
            Self::Train(args) => train::run(&args),
            Self::Sweep(args) => sweep::run(args),
            Self::Caption(args) => caption::run(&args),
            Self::Serve(args) => serve::run(&args),
            Self::Evaluate(args) => evaluate::run(&args),
            Self::Baseline(command) => baseline::run(&command),
            Self::Report(args) => report::run(&args),
            Self::Import(args) => import::run(&args),
            Self::Export(args) => export::run(&args),
            Self::ImportFeatures(args) => import_features::run(&args),
            Self::ExportFeatures(args) => export_features::run(&args),
            Self::Fetch(command) => fetch::run(&command),
            Self::Bench(command) => bench::run(&command),
            Self::Reproduce(args) => reproduce::run(&args),
            Self::Doctor(args) => doctor::run(&args),
            Self::Demo(args) => demo::run(&args),
            Self::Completions(args) => manual::completions(&args),
            Self::Man(args) => manual::man(&args),
        }
    }

    /// Returns whether the command computes with libtorch for long.
    fn computes(&self) -> bool {
        matches!(
            self,
            Self::Precompute(_)
                | Self::Keywords(_)
                | Self::Pretrain(_)
                | Self::Train(_)
                | Self::Sweep(_)
                | Self::Caption(_)
                | Self::Serve(_)
                | Self::Evaluate(_)
                | Self::Bench(_)
                | Self::Reproduce(_)
                | Self::Doctor(_)
                | Self::Demo(_)
        )
    }

    /// Returns whether several processes of a launcher can run the command together.
    fn is_shared(&self) -> bool {
        matches!(
            self,
            Self::Precompute(_)
                | Self::Train(_)
                | Self::Sweep(_)
                | Self::Evaluate(_)
                | Self::Bench(_)
        )
    }
}

/// Returns whether a launcher started this process as one of several.
fn is_one_of_several() -> bool {
    ProcessRank::from_env().is_ok_and(|process| !process.is_single())
}

/// Formats an error and its causes, without causes that the text already contains.
fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let of_libtorch = cause.downcast_ref::<TchError>().map(libtorch::reason);
        let cause = of_libtorch.unwrap_or_else(|| cause.to_string());
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
