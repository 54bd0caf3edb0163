//! The Python package in `python/`: builds its wheel, installs it and runs its tests.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

use test_support::{output, python_with, shared};

/// pip brings maturin and numpy. The wheel has a target folder of its own, which is kept.
#[test]
fn the_wheel_is_installed_by_pip_and_passes_its_tests() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("wheel");
    let folder = tempfile::tempdir().unwrap();
    let Some(python) = python_with(folder.path(), &["maturin>=1.9,<2", "numpy"]) else { return };
    let install = ["-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps"];
    let bin = folder.path().join("bin");
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::env::join_paths([bin].into_iter().chain(std::env::split_paths(&paths)));
    let installed = output(
        Command::new(&python)
            .args(install)
            .arg(root.join("python"))
            .env("PATH", paths.unwrap())
            .env("CARGO_TARGET_DIR", &target)
            .env("MATURIN_PEP517_ARGS", "--profile dev"),
    );
    assert!(installed.is_ok(), "{installed:?}");
    let mut tests = Command::new(&python);
    tests.arg(root.join("python/tests/test_caption_eval.py")).current_dir(folder.path());
    if let Some(ground_truth) = shared("evaluator/visible") {
        tests.env("CAPTION_EVAL_GROUND_TRUTH", ground_truth);
    }
    let passed = output(&mut tests);
    assert!(passed.is_ok(), "{passed:?}");
}
