//! Tests of torch-files.
//!
//! `tests/reference/torch_files_fixtures.py` makes the fixtures with PyTorch 2.11 and numpy.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod checkpoints;
mod damaged;
mod embeddings;
mod hostile;
mod memory;
mod plain;

use std::path::{Path, PathBuf};

/// Returns a file or folder of `tests/fixtures/torch_files`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/torch_files").join(name)
}

fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(fixture(name)).unwrap()).unwrap()
}

/// Returns the files of one of the fixtures' folders.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(fixture(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no fixtures in {folder}");
    files
}
