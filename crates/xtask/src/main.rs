//! Project tasks: `cargo xtask setup`, `cargo xtask test`, `cargo xtask demo`.
//!
//! Depends on nothing that needs libtorch, because it installs libtorch.

mod install;
mod libtorch;
mod needs;
mod pretend_gpu;
mod pretrain;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use libtorch::Kind;

/// Project tasks. A fresh clone needs Rust, a C++ compiler and python3 with pip, nothing more.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "Start with:\n  cargo xtask demo    sets up, then reproduces Table 1 on pictures that \
                  capsmith draws\n  cargo xtask test    sets up, then runs every test\n\nlibtorch \
                  goes into .libtorch/ of the repository; delete that folder to remove it.\nTo use a \
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
    /// pip installs it from the Python package torch==2.11.0, unless a complete one is there.
    /// Run an interrupted setup again.
    Setup {
        /// Bring the CUDA libraries too (several GB), for training on NVIDIA GPUs
        #[arg(long)]
        cuda: bool,
    },
    /// Set up where needed, then run all tests: `cargo test --workspace --features gloo`
    ///
    /// Builds the pretend GPU first, into target/pretend-cuda, on which some of them run. The last
    /// line counts the tests that skipped themselves; with `CAPSMITH_REQUIRE_ALL=1` they fail.
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
    /// Set up where needed, then retrain the small models of data/models on drawn pictures
    ///
    /// Takes about half an hour on two cores. Machines of one kind write the same files.
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
        Task::Test { arguments } => test(&repository, &arguments),
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

/// Runs all tests, on a pretend GPU too, and reports how many skipped themselves.
fn test(repository: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let libtorch = set_up(repository, Kind::Cpu)?;
    let target = target_folder(repository)?;
    let mut command = cargo_command(repository);
    match pretend_gpu::build(repository, &target, &libtorch)? {
        Some(folder) => command.env(test_support::PRETEND_GPU, folder),
        None => command.env_remove(test_support::PRETEND_GPU),
    };
    let skipped = target.join("skipped-tests");
    fs::create_dir_all(&target)
        .and_then(|()| fs::write(&skipped, ""))
        .with_context(|| format!("cannot write {}", skipped.display()))?;
    command.env(test_support::SKIPPED, &skipped);
    // Otherwise each `capsmith` that a test starts starts itself again with its own settings.
    command.envs([("GOMP_SPINCOUNT", "10000"), ("GLIBC_TUNABLES", "")]);
    let code = run_cargo(command, &["test", "--workspace", "--features", "gloo"], arguments)?;
    let lines = fs::read_to_string(&skipped)
        .with_context(|| format!("cannot read {}", skipped.display()))?;
    eprintln!("{}", test_support::summary(&lines));
    Ok(code)
}

/// Returns the folder of build outputs.
fn target_folder(repository: &Path) -> anyhow::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| repository.join("target"), PathBuf::from);
    Ok(std::path::absolute(target)?)
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
    // Cargo's own configuration sets it again. Inherited, it would look like a change and rebuild
    // everything that links libtorch.
    if std::env::var_os("LIBTORCH").is_some_and(|path| libtorch::is_ours(&path, repository)) {
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
