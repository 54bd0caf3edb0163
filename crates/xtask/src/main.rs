//! Project tasks: `cargo xtask setup`, `cargo xtask test`, `cargo xtask demo`.
//!
//! Depends on nothing that needs libtorch, because it installs libtorch.

mod install;
mod libtorch;
mod needs;
mod pretend_gpu;
mod pretrain;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use libtorch::Kind;

/// Project tasks. A fresh clone needs Rust, a C++ compiler and python3 with pip; the rest comes by
/// itself.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "Start with:\n  cargo xtask demo    sets up, then makes all of Table 1 on pictures that \
                  capsmith draws\n  cargo xtask test    sets up, then runs every test\n\nlibtorch \
                  goes into .libtorch/ of the repository; delete that folder to get rid of it.\nTo use a \
                  libtorch 2.11.0 of your own, set LIBTORCH to the folder that has lib/ and include/."
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring libtorch 2.11.0 into .libtorch/ (about 530 MB to download, once)
    ///
    /// It is taken from the Python package torch==2.11.0 with pip. What is there already is
    /// checked first; a setup that was interrupted is simply run again.
    Setup {
        /// Bring the CUDA libraries too (several GB): training on NVIDIA GPUs
        #[arg(long)]
        cuda: bool,
    },
    /// Set up where needed, then run all tests: `cargo test --workspace --features gloo`
    ///
    /// Builds the pretend GPU first, into target/pretend-cuda, on which some of them run.
    Test {
        /// Passed to `cargo test`: `cargo xtask test -- --ignored`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Set up where needed, then build capsmith (release) and run `capsmith demo`
    Demo {
        /// Passed to `capsmith demo`: `cargo xtask demo --help`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Set up where needed, then train the small models of data/models anew, on drawn pictures
    ///
    /// About half an hour on two cores. On the same kind of machine the same files come out.
    Pretrain,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    let repository = repository();
    match task {
        Task::Setup { cuda } => {
            set_up(&repository, if cuda { Kind::Cuda } else { Kind::Cpu })?;
            Ok(ExitCode::SUCCESS)
        }
        Task::Test { arguments } => {
            let libtorch = set_up(&repository, Kind::Cpu)?;
            let gpu = pretend_gpu::build(&repository, &libtorch)?;
            let mut command = cargo_command(&repository);
            match gpu {
                Some(folder) => command.env(pretend_gpu::VARIABLE, folder),
                None => command.env_remove(pretend_gpu::VARIABLE),
            };
            let task = ["test", "--workspace", "--features", "gloo"];
            run_cargo(command, &task, &arguments)
        }
        Task::Demo { arguments } => {
            set_up(&repository, Kind::Cpu)?;
            let demo = ["run", "--release", "--bin", "capsmith", "--", "demo"];
            cargo(&repository, &demo, &arguments)
        }
        Task::Pretrain => {
            set_up(&repository, Kind::Cpu)?;
            pretrain::run(&repository)
        }
    }
}

/// Ensures that a libtorch exists with which the workspace can be built, and returns its folder.
fn set_up(repository: &Path, kind: Kind) -> anyhow::Result<PathBuf> {
    needs::cxx_compiler()?;
    let own = repository.join(".libtorch");
    if let Some(theirs) = libtorch::of_the_user(std::env::var_os("LIBTORCH"), &own)? {
        eprintln!("libtorch {}: LIBTORCH={}", libtorch::VERSION, theirs.display());
        return Ok(theirs);
    }
    install::ensure(repository, kind)?;
    Ok(own.join("torch"))
}

/// Returns the repository of this crate.
///
/// `cargo run` sets the crate's present path, which is right even if the clone was moved after
/// building.
fn repository() -> PathBuf {
    let crate_folder = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    crate_folder.ancestors().nth(2).unwrap_or(&crate_folder).to_owned()
}

fn cargo(repository: &Path, task: &[&str], more: &[String]) -> anyhow::Result<ExitCode> {
    run_cargo(cargo_command(repository), task, more)
}

fn cargo_command(repository: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository);
    // Cargo's own configuration sets it again. Passed on as if the user had set it, it would look
    // like a change and rebuild everything that links libtorch.
    if std::env::var_os("LIBTORCH").is_some_and(|at| libtorch::is_ours(&at, repository)) {
        command.env_remove("LIBTORCH");
    }
    command
}

fn run_cargo(mut command: Command, task: &[&str], more: &[String]) -> anyhow::Result<ExitCode> {
    eprintln!("running: cargo {}", [task.join(" "), more.join(" ")].join(" ").trim_end());
    let program = command.get_program().to_owned();
    let status = command
        .args(task)
        .args(more)
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
