//! Where the tests find their material.
#![allow(dead_code, reason = "every test file uses another part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod scores;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// pycocoevalcap's results on thousands of captions; not part of the repository.
pub fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")).join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

/// A fixture of the repository.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/metrics")).join(path)
}

/// A JSON file.
pub fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A file of one JSON value a line.
pub fn json_lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.split('\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The strings of a JSON list.
pub fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// METEOR's resources, where they have been fetched.
pub fn resources() -> Option<caption_metrics::meteor::Resources> {
    match caption_metrics::meteor::Resources::open_default() {
        Ok(resources) => Some(resources),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}
