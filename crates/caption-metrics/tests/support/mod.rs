//! Fixtures and METEOR's resources.
#![allow(dead_code, reason = "every test file uses another part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod scores;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Returns the path of a fixture.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/metrics")).join(path)
}

/// Reads a JSON file.
pub fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Reads a file of one JSON value per line.
pub fn json_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.split('\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Returns the strings of a JSON list.
pub fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Returns METEOR's resources; skips if they have not been fetched.
pub fn resources() -> Option<caption_metrics::meteor::Resources> {
    let resources = caption_metrics::meteor::Resources::open_default();
    resources.inspect_err(|error| test_support::skip("METEOR's files", error)).ok()
}
