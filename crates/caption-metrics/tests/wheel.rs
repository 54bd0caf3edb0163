//! The Python package in `python/`: builds its wheel, installs it and runs its tests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output};

use test_support::{shared, skip};

fn output(command: &mut Command) -> (bool, String) {
    match command.output() {
        Ok(Output { status, stdout, stderr }) => {
            let text = String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr);
            (status.success(), text.into_owned())
        }
        Err(error) => (false, error.to_string()),
    }
}

/// pip brings maturin and numpy. The wheel has a target folder of its own, which is kept.
#[test]
fn the_wheel_is_installed_by_pip_and_passes_its_tests() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("wheel");
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("bin/python");
    let made = output(Command::new("python3").args(["-m", "venv"]).arg(folder.path()));
    let download = ["-m", "pip", "install", "--quiet", "maturin>=1.9,<2", "numpy"];
    let (is_ready, message) =
        if made.0 { output(Command::new(&python).args(download)) } else { made };
    if !is_ready {
        skip("maturin", &message);
        return;
    }
    let install = ["-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps"];
    let bin = folder.path().join("bin");
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&paths)));
    let (is_installed, message) = output(
        Command::new(&python)
            .args(install)
            .arg(root.join("python"))
            .env("PATH", paths.unwrap())
            .env("CARGO_TARGET_DIR", &target)
            .env("MATURIN_PEP517_ARGS", "--profile dev"),
    );
    assert!(is_installed, "{message}");
    let mut tests = Command::new(&python);
    tests.arg(root.join("python/tests/test_caption_eval.py")).current_dir(folder.path());
    if let Some(ground_truth) = shared("evaluator/visible") {
        tests.env("CAPTION_EVAL_GROUND_TRUTH", ground_truth);
    }
    let (is_passed, message) = output(&mut tests);
    assert!(is_passed, "{message}");
}
