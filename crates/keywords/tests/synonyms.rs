//! Near-synonyms by a sentence encoder against `tests/reference/bert_goldens.py`, which follows
//! `SBG.ipynb`.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::path::PathBuf;

use keywords::{SentenceEncoder, compare};
use serde::Deserialize;
use tch::Device;
use words::Label;

#[derive(Deserialize)]
struct Golden {
    labels: Vec<Label>,
    kept: Vec<Label>,
}

#[test]
fn labels_near_a_more_frequent_one_are_dropped_as_in_the_notebook() {
    let folder: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/bert"].iter().collect();
    let golden = std::fs::read(folder.join("synonyms.json")).unwrap();
    let Golden { labels, kept } = serde_json::from_slice(&golden).unwrap();
    let encoder = SentenceEncoder::load(&folder, Device::Cpu).unwrap();
    let ours = compare::without_synonyms(labels.clone(), |words| encoder.encode(words)).unwrap();
    assert_eq!(ours, kept);
    assert!(kept.len() > 5 && kept.len() < labels.len(), "{} kept", kept.len());
}
